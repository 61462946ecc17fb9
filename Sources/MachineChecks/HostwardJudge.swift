import GuestMemory
import PagingUnits
import VirtualMachine

/// Whether a step from guest-physical to host-physical memory, which some processor takes or has
/// kept, is one that memslots, the host process and the machine's own tables still give.
///
/// Nothing here may ever be stale once the operation that changed it has returned.
struct HostwardJudge {
  /// The step of one page.
  struct Step {
    /// The first guest-physical byte that it is about.
    var guest: UInt64
    /// The host-physical byte behind it.
    var host: UInt64
    /// How far around both it reaches.
    var level: Level
    /// Whether a write goes by it.
    var isWritable: Bool
    /// Whether a fetch goes by it.
    var isExecutable: Bool
  }

  let memory: ReferenceMemory
  /// The machine's own tables of the second dimension; `nil` under shadow paging, whose tables a
  /// rule of their own compares with memslots and host.
  let tables: SecondTables?

  /// The first rule that a step breaks; `what` names the step.
  func violation(_ step: Step, _ what: @autoclosure () -> String) -> Violation? {
    let inPage = step.level.byteCount - 1
    let first = step.guest & ~inPage
    guard let slot = memory.slot(step.guest) else {
      return Violation("a translation leads to memory that the guest has", found: what())
    }
    let (start, count) = (slot.baseFrame.number << 12, slot.frameCount << 12)
    if first < start || first - start + inPage >= count {
      return Violation("a translation stays inside its memslot", found: what())
    }
    let address = slot.hostAddress.raw + (step.guest - start)
    guard case .page(let byte, let depth, let isWritable) = memory.host(address) else {
      return Violation(
        "a translation leads to a page that the host process has",
        found: "\(what()), the host has \(memory.host(address)) at \(hex(address))")
    }
    if byte != step.host {
      return Violation(
        "a translation leads where the host process has the page",
        found: "\(what()), the host has it at \(hex(byte))")
    }
    if depth < Int(step.level.depth) {
      return Violation(
        "a translation is no larger than the host's page",
        found: "\(what()), the host's entry has level \(depth)")
    }
    if step.isWritable && (slot.isReadOnly || !isWritable) {
      return Violation(
        "a translation grants no write that was taken away",
        found: "\(what()), \(slot.isReadOnly ? "the memslot" : "the host's page") is read-only")
    }
    return tableViolation(step, hostDepth: depth, what())
  }

  /// The same against the machine's own tables.
  ///
  /// A large page that was split in place is still translated as before by its parts, so that
  /// nothing has to be forgotten: then every part is asked.
  private func tableViolation(
    _ step: Step, hostDepth: Int, _ what: @autoclosure () -> String
  ) -> Violation? {
    guard let tables else { return nil }
    if let leaf = tables.leaf(step.guest), leaf.depth > hostDepth {
      return Violation(
        "the machine's own entry is no larger than the host's page",
        found: "\(what()), the entry has level \(leaf.depth), the host's \(hostDepth)")
    }
    let inPage = step.level.byteCount - 1
    let first = step.guest & ~inPage
    var offset: UInt64 = 0
    while offset <= inPage {
      guard let leaf = tables.leaf(first + offset),
        leaf.host == (step.host & ~inPage) + offset
      else {
        return Violation(
          "a translation is still in the machine's own tables",
          found: "\(what()), the tables say at \(hex(first + offset)) "
            + (tables.leaf(first + offset).map { "\(hex($0.host))" } ?? "nothing"))
      }
      if (step.isWritable && !(leaf.isWritable && leaf.isDirty))
        || (step.isExecutable && !leaf.isExecutable)
      {
        return Violation(
          "a translation grants no right that the machine's own entry does not",
          found: "\(what()), the entry at \(hex(first + offset)) gives \(leaf)")
      }
      offset += Level(leaf.depth).byteCount
    }
    return nil
  }
}
