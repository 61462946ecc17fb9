import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import PageTables
import PagingUnits
import Reports
import SubpageProtection
import VirtualMachine
import X86Paging

/// One access in words, stop by stop: GVA → GPA → HVA → HPA, and what our tables say.
enum Trip {
  /// The trip that an operation's access makes now; empty for operations that access nothing.
  static func explanation(of operation: Operation, on stage: Stage) -> [String] {
    switch operation {
    case .access(let step): access(step, stage)
    case .tableEntry(let address, _, let space), .subpageEntry(let address, _, let space):
      ours(address, space, stage)
    case .subpage(let step):
      memory(step.address, step.space, stage) + ours(step.address, step.space, stage)
    case .host(_, let address, _): memory(address, .normal, stage)
    case .processorTLB(let processor, let address), .shadowEntry(let processor, let address, _):
      access(AccessStep(forProcessor: processor, at: .virtual(address)), stage)
    case .read(let address, _), .write(let address, _): memory(address, .normal, stage)
    default: []
    }
  }

  private static func access(_ step: AccessStep, _ stage: Stage) -> [String] {
    let space = stage.machine.addressSpace(of: step.processor)
    switch step.address {
    case .physical(let address):
      return memory(address, space, stage) + ours(address, space, stage)
    case .virtual(let address):
      let registers = stage.machine[registersOf: step.processor]
      let level = step.privilegeLevel ?? registers.cpl
      let privilege: Privilege =
        step.isImplicit ? .implicitSupervisor : level == 3 ? .user : .supervisor
      let walk = stage.machine.translate(step.processor, address, step.kind, privilege)
      var lines = heading(address, step, privilege, registers)
      lines += entries(walk, registers, stage)
      guard case .mapped(let mapping) = walk.outcome else {
        lines.append("guest: \(outcome(walk.outcome))")
        return lines
      }
      lines.append("guest-physical \(hex(mapping.address.raw)), page of \(size(mapping.byteCount))")
      lines += memory(mapping.address, space, stage)
      lines +=
        stage.settings.mmu == .shadow
        ? shadow(address, step.processor, stage) : ours(mapping.address, space, stage)
      return lines + kept(address, step.processor, stage)
    }
  }

  private static func heading(
    _ address: GuestVirtual, _ step: AccessStep, _ privilege: Privilege,
    _ registers: ControlRegisters
  ) -> [String] {
    let who: String
    switch privilege {
    case .user: who = "user"
    case .supervisor: who = "supervisor"
    case .implicitSupervisor: who = "implicit supervisor"
    }
    let mode: String
    switch PagingMode(registers) {
    case .off: mode = "paging off"
    case .bits32: mode = "32-bit paging"
    case .pae: mode = "PAE paging"
    case .fourLevel: mode = "4-level paging"
    case .fiveLevel: mode = "5-level paging"
    }
    return [
      "\(who) \(step.kind) of \(hex(address.raw)), \(mode), CR3 \(hex(registers.cr3)), "
        + "CR0 \(hex(registers.cr0)), CR4 \(hex(registers.cr4)), EFER \(hex(registers.efer))"
    ]
  }

  private static func entries(
    _ walk: GuestWalk, _ registers: ControlRegisters, _ stage: Stage
  ) -> [String] {
    let features = PagingFeatures(physicalBits: UInt64(stage.settings.guestPhysicalBits))
    let words = WalkText(WalkRules(registers, features: features).format)
    return stride(from: walk.path.rootDepth, through: 1, by: -1).compactMap { depth in
      guard let step = walk.path[Level(depth)] else { return nil }
      var text = TextBuffer(capacity: 128)
      words.appendLine(step, at: Level(depth), to: &text, indent: 0)
      return "guest " + text.text.filter { $0 != "\n" }
    }
  }

  private static func outcome(_ outcome: GuestWalk.Outcome) -> String {
    switch outcome {
    case .mapped: "mapped"
    case .fault(let fault):
      "page fault \(hex(UInt64(fault.code.guestCode))), \(fault.cause) at level "
        + "\(fault.level.depth)"
    case .nonCanonical: "the address is not canonical"
    case .refused: "a table cannot be reached"
    case .contended: "the tables change too often"
    }
  }

  /// The memslot and the host's page behind a guest-physical address.
  private static func memory(
    _ address: GuestPhysical, _ space: AddressSpace, _ stage: Stage
  ) -> [String] {
    guard let slot = stage.machine.slots.slot(containing: address.frame, in: space) else {
      return ["memslot: none holds \(hex(address.raw)): a device"]
    }
    let host = slot.hostAddress(of: address.frame) + address.pageOffset
    var flags = slot.isReadOnly ? ", read-only" : ""
    if slot.logsWrites { flags += ", writes logged" }
    if slot.isInvalid { flags += ", on its way out" }
    let lines = [
      "memslot \(slot.id.number): frames \(hex(slot.baseFrame.number)) to "
        + "\(hex(slot.baseFrame.number + slot.frameCount - 1))\(flags); host-virtual "
        + hex(host.raw)
    ]
    guard let page = stage.machine.process.lookUpMapped(host, for: .read) else {
      return lines + ["host page: not present"]
    }
    let level = stage.machine.process.mappingLevel(at: host)
    return lines + [
      "host page: host-physical \(hex(page.frame.address.raw + address.pageOffset)), "
        + "\(page.isWritable ? "writable" : "read-only"), page of \(size(level.byteCount))"
    ]
  }

  /// The entries that a processor's hardware reads in the place of the guest's, from the top down.
  private static func shadow(
    _ address: GuestVirtual, _ processor: Int, _ stage: Stage
  ) -> [String] {
    guard let root = stage.machine.shadowRoot(of: processor) else { return ["shadow: no root"] }
    let words = EntryText(.long)
    return stage.shadowPath(of: processor, to: address).map { entry in
      var text = TextBuffer(capacity: 128)
      if stage.machine.tables.encoding.isMMIO(SPTE(raw: entry.raw)) {
        text.append("device")
      } else if entry.level == .page1G && root.level == .page1G && entry.isPresent {
        // A PDPTE of PAE paging gives no rights.
        text.append(string: "table \(hex(entry.frame.address.raw))")
      } else {
        words.append(entry.raw, at: entry.level, to: &text)
      }
      return "shadow level \(entry.level.depth) reads \(hex(entry.raw)) \(text.text)"
    }
  }

  /// The entries of ours on the way to a guest-physical address, from the top down; none under
  /// shadow paging, whose tables are asked by linear address.
  private static func ours(
    _ address: GuestPhysical, _ space: AddressSpace, _ stage: Stage
  ) -> [String] {
    if stage.settings.mmu == .shadow { return [] }
    let isIntel = stage.settings.vendor == .intel
    let words = EntryText(isIntel ? .ept(accessedDirty: true) : .long)
    var lines: [String] = []
    guard var path = stage.path(to: address, in: space) else {
      return ["\(isIntel ? "EPT" : "NPT"): no root"]
    }
    repeat {
      var text = TextBuffer(capacity: 128)
      words.append(path.entry.raw, at: path.level, to: &text)
      let isDevice = stage.machine.tables.encoding.isMMIO(path.entry)
      lines.append(
        "\(isIntel ? "EPT" : "NPT") level \(path.level.depth) at "
          + "\(hex(path.address.raw)) reads \(hex(path.entry.raw)) "
          + (isDevice ? "device" : text.text))
    } while path.stepDown(towards: address.frame)
    return lines + permissions(address, space, stage)
  }

  /// What may be written of a page, by its memslot's map and by the tables of permissions, where
  /// sub-page protection has anything to say.
  private static func permissions(
    _ address: GuestPhysical, _ space: AddressSpace, _ stage: Stage
  ) -> [String] {
    guard stage.machine.subpages.isEnabled,
      let slot = stage.machine.slots.slot(containing: address.frame, in: space)
    else { return [] }
    let access = stage.machine.subpages.access(to: address.frame, in: slot, stage.machine.tables)
    guard access.isProtected else { return [] }
    let subpage = Int(address.pageOffset / SubpageAccess.byteCount)
    let verdict = access[subpage] ? "may" : "may not"
    var lines = [
      "map: \(hex(UInt64(access.rawValue))), sub-page \(subpage) \(verdict) be written"
    ]
    for entry in stage.subpageWay(to: address, space) {
      let words: String
      if entry.level == .page4K {
        words = "permits writes to sub-pages \(hex(UInt64(entry.access)))"
      } else {
        words = entry.raw & 1 == 1 ? "table \(hex(entry.raw & ~0xFFF))" : "not valid: a miss"
      }
      lines.append(
        "SPPT level \(entry.level.depth) at \(hex(entry.place.raw)) reads \(hex(entry.raw)) "
          + words)
    }
    return lines
  }

  private static func kept(
    _ address: GuestVirtual, _ processor: Int, _ stage: Stage
  ) -> [String] {
    return (0..<stage.machine.translationCapacity(of: processor)).compactMap { place in
      guard let kept = stage.machine.keptTranslation(in: place, of: processor),
        kept.linear == address.aligned(to: kept.level)
      else { return nil }
      return "TLB of processor \(processor): \(hex(kept.linear.raw)) to "
        + "\(hex(kept.hostPhysical.raw)), page of \(size(kept.level.byteCount))"
    }
  }

  private static func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }

  private static func size(_ bytes: UInt64) -> String {
    if bytes >= 1 << 30 { return "\(bytes >> 30) GiB" }
    return bytes >= 1 << 20 ? "\(bytes >> 20) MiB" : "\(bytes >> 10) KiB"
  }
}

extension AccessStep {
  /// A read of a processor.
  fileprivate init(forProcessor processor: Int, at address: Address) {
    self.init(at: address)
    self.processor = processor
  }
}
