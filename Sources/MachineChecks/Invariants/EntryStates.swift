import PageTables
import PagingUnits
public import VirtualMachine

/// What an entry says about accesses and writes agrees with itself and with its table's role.
///
/// * Tables that keep accessed and dirty bits hold entries that do, and the other way round;
///   without them the processor's bits are clear.
/// * Rights are set aside exactly where an entry waits for access tracking.
/// * Writable implies MMU-writable implies host-writable (KVM: `check_spte_writable_invariants`).
/// * An entry that points to a table grants everything and was marked accessed when it was made.
public struct EntryStates: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "accessed, dirty and write bits agree with the encoding"
  /// The rule before a scan.
  public init() {}

  /// Looks at a present entry.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard seen.entry.isPresent else { return nil }
    let encoding = machine.tables.encoding
    let entry = seen.entry
    if encoding.accessedDirtyUse(of: entry) != seen.table.role.accessedDirty {
      return broken(by: seen, "not the A/D use of its table's role")
    }
    if encoding.format == .ept && !encoding.usesAccessedBit(entry) {
      let kept = SPTELayout.EPT.accessed.mask | SPTELayout.EPT.dirty.mask
      if entry.raw & kept != 0 { return broken(by: seen, "a processor's mark without A/D bits") }
    }
    guard seen.isLeaf else {
      let meant = encoding.table(seen.target, accessedDirty: seen.table.role.accessedDirty)
      return entry == meant ? nil : broken(by: seen, "a table entry is \(hex(meant.raw))")
    }
    if entry.isWritable && !encoding.isMMUWritable(entry) {
      return broken(by: seen, "writable and not MMU-writable")
    }
    if encoding.isMMUWritable(entry) && !encoding.isHostWritable(entry) {
      return broken(by: seen, "MMU-writable and not host-writable")
    }
    return encoding.format == .ept ? savedRights(seen, encoding) : nil
  }

  private func savedRights(_ seen: SeenEntry, _ encoding: EntryEncoding) -> Violation? {
    let saved =
      seen.entry.raw & (SPTELayout.EPT.savedRead.mask | SPTELayout.EPT.savedExecute.mask)
    if encoding.isAccessTracked(seen.entry) {
      return saved == 0 ? broken(by: seen, "waits for access tracking with no right saved") : nil
    }
    return saved == 0 ? nil : broken(by: seen, "saves rights that it did not lose")
  }
}
