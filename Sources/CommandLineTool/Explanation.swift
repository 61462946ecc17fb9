import EventSources
import PagingUnits
import Reports
import X86Paging

/// A translation with every entry that was read.
struct Explanation {
  let access: Access
  let format: OutputFormat

  /// Writes the explanation of one address.
  func write(_ address: GuestVirtual, _ view: inout GuestView, to text: inout TextBuffer) {
    let walk = view.walk(address, access)
    let outcome = view.report(walk, of: address)
    switch format {
    case .json: writeObject(outcome, walk, to: &text)
    case .text:
      writeHeading(address, view, to: &text)
      writeSteps(walk, &view, to: &text)
      writeOutcome(outcome, walk, &view, to: &text)
    }
  }

  private func writeObject(
    _ outcome: Translation, _ walk: GuestWalk, to text: inout TextBuffer
  ) {
    text.append("{")
    switch outcome {
    case .mapped(let mapping): mapping.appendMembers(to: &text)
    case .fault(let fault): fault.appendMembers(to: &text)
    }
    WalkText.appendMember(walk.path, to: &text)
    text.append("}\n")
  }

  private func writeHeading(
    _ address: GuestVirtual, _ view: GuestView, to text: inout TextBuffer
  ) {
    text.appendPrefixedHex(address.raw, digits: 16)
    text.append(access.privilege == .user ? ": user " : ": supervisor ")
    switch access.kind {
    case .read: text.append("read")
    case .write: text.append("write")
    case .fetch: text.append("fetch")
    }
    switch PagingMode(view.registers) {
    case .off: text.append(", paging off")
    case .bits32: text.append(", 32-bit paging")
    case .pae: text.append(", PAE paging")
    case .fourLevel: text.append(", 4-level paging")
    case .fiveLevel: text.append(", 5-level paging")
    }
    text.append(", CR3 ")
    text.appendPrefixedHex(view.registers.cr3)
    text.endLine()
  }

  private func writeSteps(
    _ walk: GuestWalk, _ view: inout GuestView, to text: inout TextBuffer
  ) {
    let words = WalkText(view.rules.format)
    for depth in stride(from: walk.path.rootDepth, through: 1, by: -1) {
      guard let step = walk.path[Level(depth)] else { continue }
      writeSecondDimension(view.walkForEntry(step.address), view, to: &text)
      words.appendLine(step, at: Level(depth), to: &text)
    }
  }

  /// Writes the entries of the second dimension by which an address was reached.
  private func writeSecondDimension(
    _ walk: GuestWalk?, _ view: GuestView, to text: inout TextBuffer
  ) {
    guard let walk, let format = view.memory.secondFormat else { return }
    let words = WalkText(format)
    for depth in stride(from: walk.path.rootDepth, through: 1, by: -1) {
      guard let step = walk.path[Level(depth)] else { continue }
      words.appendLine(step, at: Level(depth), to: &text, indent: 6)
    }
  }

  private func writeOutcome(
    _ outcome: Translation, _ walk: GuestWalk, _ view: inout GuestView,
    to text: inout TextBuffer
  ) {
    if view.memory.isLayered { writeLastReach(walk, outcome, &view, to: &text) }
    text.append("  = ")
    switch outcome {
    case .mapped(let mapping): mapping.appendLine(to: &text)
    case .fault(let fault):
      fault.appendPhrase(to: &text)
      text.endLine()
    }
  }

  /// Writes how the second dimension took, or refused, the last address of the walk.
  private func writeLastReach(
    _ walk: GuestWalk, _ outcome: Translation, _ view: inout GuestView,
    to text: inout TextBuffer
  ) {
    if case .fault(let fault) = outcome {
      guard case .secondDimension = fault.reason else { return }
      writeSecondDimension(view.memory.refusal?.walk, view, to: &text)
    } else if let level = walk.path.lowest, let step = walk.path[level],
      case .mapped(let mapping) = outcome
    {
      let format = view.rules.format
      let page = format.pageAddress(of: step.entry, at: Int(level.depth))
      let offset = mapping.linear.raw & (mapping.byteCount - 1)
      let reach = view.walkForPage(GuestPhysical(page | offset), access.kind)
      writeSecondDimension(reach, view, to: &text)
    }
  }
}
