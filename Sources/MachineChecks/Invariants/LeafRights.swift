import GuestMemory
import HostMemory
import PageTables
public import VirtualMachine

/// A leaf grants no write, now or by a repair without a lock, that its memslot or the host's page
/// refuses.
public struct LeafRights: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a leaf grants no write that memslot or host refuses"
  /// The rule before a scan.
  public init() {}

  /// Looks at a leaf.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard seen.isLeaf, let slot = seen.slot, let mapping = seen.mapping else { return nil }
    let encoding = machine.tables.encoding
    let mayWrite =
      seen.entry.isWritable || encoding.isMMUWritable(seen.entry)
      || encoding.isHostWritable(seen.entry)
    guard mayWrite else { return nil }
    if slot.isReadOnly { return broken(by: seen, "the memslot is read-only") }
    return mapping.page.isWritable ? nil : broken(by: seen, "the host's page is read-only")
  }
}
