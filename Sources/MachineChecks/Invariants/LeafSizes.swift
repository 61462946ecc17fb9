import DirectMMU
import GuestMemory
import HostMemory
import PagingUnits
public import VirtualMachine

/// A leaf is no larger than the host's page, than the memslot's refusals of huge pages allow, and
/// than the machine's maker does.
public struct LeafSizes: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a leaf is no larger than memslot and host page"
  /// The rule before a scan.
  public init() {}

  /// Looks at a leaf.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard seen.isLeaf, seen.level > .page4K, let slot = seen.slot, let mapping = seen.mapping
    else { return nil }
    if seen.level > mapping.level {
      return broken(by: seen, "the host's page has level \(mapping.level.depth)")
    }
    let largest = machine.direct.configuration.largestPage
    if seen.level > largest { return broken(by: seen, "the machine's largest is \(largest.depth)") }
    let permitted = machine.slots.largestLevel(in: slot, at: seen.frame, atMost: seen.level)
    return permitted == seen.level
      ? nil : broken(by: seen, "the memslot permits level \(permitted.depth)")
  }
}
