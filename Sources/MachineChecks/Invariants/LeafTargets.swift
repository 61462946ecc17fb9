import PageTables
import GuestMemory
import HostMemory
import PagingUnits
public import VirtualMachine

/// A leaf lies in a memslot and maps the frame that the host process has at the slot's address.
public struct LeafTargets: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a leaf maps the page that memslot and host give"
  /// The rule before a scan.
  public init() {}

  /// Looks at a leaf.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard seen.isLeaf else { return nil }
    guard seen.slot != nil else { return broken(by: seen, "no memslot is there") }
    guard let mapping = seen.mapping else { return broken(by: seen, "the host has no page") }
    return mapping.page.frame == seen.target
      ? nil : broken(by: seen, "the host has frame \(hex(mapping.page.frame.number))")
  }
}
