import GuestMemory
import MachineEvents
import PageTables
import PagingUnits
import X86Paging

/// Faults that are repaired without a lock (KVM: `fast_page_fault`).
extension DirectMMU {
  /// How often a fast fault tries before it leaves the fault to the long way.
  private static let attempts = 5

  /// Gives back a right that was taken away only to see the access; `nil` when that is not what
  /// happened.
  func fastFault(
    _ request: FaultRequest, in root: ShadowPageID, _ slot: Memslot?,
    _ tables: borrowing PageTables
  ) -> FaultOutcome? {
    guard isFastFaultPossible(request, tables) else { return nil }
    var outcome: FaultOutcome?
    var path = EntryPath(walking: root, to: request.address.frame, tables)
    var old = path.entry
    var new = old
    for _ in 0..<Self.attempts {
      path.reread()
      old = path.entry
      new = old
      guard old.isPresentLeaf(at: path.level) else { break }
      if request.kind == .write && tables.encoding.isArmed(old) {
        outcome = .subpage(tables.encoding.frame(of: old))
        break
      }
      if tables.encoding.allows(request.kind, old) {
        outcome = .spurious
        break
      }
      new = repaired(old, for: request.kind, at: path.level, slot, tables)
      // A leaf that was parked lets the processor judge the write; it does not allow it.
      let isHelped = tables.encoding.allows(request.kind, new) || tables.encoding.isArmed(new)
      guard new != old, isHelped else { break }
      if tables.fix(old, with: new, at: path.address) {
        outcome = .fixed
        break
      }
    }
    tables.tap.record(
      .fastPageFault(
        vcpu: request.processor, address: request.address.raw,
        errorCode: request.errorCode.rawValue, at: path.address, old: old.raw, new: new.raw,
        outcome: outcome?.traceCode ?? 4))
    return outcome
  }

  /// Whether a lockless repair could help (KVM: `page_fault_can_be_fast`).
  private func isFastFaultPossible(
    _ request: FaultRequest, _ tables: borrowing PageTables
  ) -> Bool {
    if request.errorCode.contains(.reserved) { return false }
    guard request.errorCode.contains(.present) else { return !tables.encoding.hasAccessedDirty }
    return request.kind == .write
  }

  /// The entry with what the MMU may give back: tracked rights, and write where the MMU may.
  private func repaired(
    _ old: SPTE, for kind: AccessKind, at level: Level, _ slot: Memslot?,
    _ tables: borrowing PageTables
  ) -> SPTE {
    var new = old
    if tables.encoding.isAccessTracked(new) { new = tables.encoding.restoringRights(new) }
    let isLogged = slot?.logsWrites ?? false
    // Where writes are logged, the bit may be set aside to see the next one.
    if kind == .write || !isLogged { new = tables.encoding.unparking(new) }
    if kind == .write && tables.encoding.isMMUWritable(old) {
      // A large page of a logged slot has to be split first, which takes the lock.
      if level > .page4K && isLogged { return old }
      new = tables.encoding.withWrite(new)
    }
    return new
  }
}

extension EntryPath {
  /// The path to the lowest entry that covers a frame.
  init(walking root: ShadowPageID, to frame: GuestFrame, _ tables: borrowing PageTables) {
    let row = tables.arena[root]
    self.init(
      in: tables, root: row.frame, level: row.role.level, space: row.role.space,
      frame: frame)
    while stepDown(towards: frame) {}
  }
}
