import HardwareModel
import HostMemory
import PageTables
import PagingUnits
import VirtualMachine

/// Shadow tables looked at.
extension Stage {
  /// The entry that a processor's hardware would read for a linear address, at a level or the
  /// lowest that there is.
  func shadowEntry(of processor: Int, at address: GuestVirtual, _ level: Level?) -> StepResult {
    guard settings.mmu == .shadow else { return .error("EINVAL") }
    guard let entry = shadowPath(of: processor, to: address).last, level == nil else {
      let found = shadowPath(of: processor, to: address).first { $0.level == level }
      return found.map { .entry($0) } ?? .error("ENOENT")
    }
    return .entry(entry)
  }

  /// The entries that a processor's hardware would read for a linear address, from the top down;
  /// none without a root.
  func shadowPath(of processor: Int, to address: GuestVirtual) -> [EntryView] {
    guard let root = machine.shadowRoot(of: processor) else { return [] }
    var entries: [EntryView] = []
    var (frame, level) = root
    while true {
      let index = address.raw >> (12 + 9 * UInt64(level.depth - 1)) & 511
      // PAE paging looks at four entries, by bits 31 and 30.
      let isRegister = level == .page1G && root.level == .page1G
      let place = frame.address + (isRegister ? index & 3 : index) * 8
      let entry = view(of: SPTE(raw: machine.tables.memory.entry(at: place)), at: level)
      entries.append(entry)
      guard entry.isPresent, !entry.isLeaf, let below = level.below else { return entries }
      (frame, level) = (entry.frame, below)
    }
  }

  /// An entry of a table that the hardware walks in the guest's place, be it a shadow page or a
  /// bare table of a special root.
  private func view(of entry: SPTE, at level: Level) -> EntryView {
    let encoding = machine.tables.encoding
    let isPresent = entry.raw & 1 == 1 && !encoding.isMMIO(entry)
    let isLeaf = isPresent && entry.isLeaf(at: level)
    return EntryView(
      raw: entry.raw, level: level, isPresent: isPresent, isLeaf: isLeaf,
      isWritable: isPresent && entry.isWritable, isUser: isPresent && entry.raw >> 2 & 1 == 1,
      isExecutable: isPresent && entry.raw >> 63 == 0,
      isAccessed: isPresent && entry.raw >> 5 & 1 == 1,
      isDirty: isLeaf && entry.raw >> 6 & 1 == 1, frame: encoding.frame(of: entry))
  }
}
