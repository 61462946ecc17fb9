import MachineEvents
import PagingUnits
public import VirtualMachine

/// `pages_4k`, `pages_2m` and `pages_1g` count exactly the present leaves of all live tables.
public struct LeafStatistics: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "the statistics count the leaves"
  private var leaves4K: Int64 = 0
  private var leaves2M: Int64 = 0
  private var leaves1G: Int64 = 0

  /// No leaf was seen yet.
  public init() {}

  /// Counts a leaf.
  public mutating func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard seen.isLeaf else { return nil }
    switch seen.level {
    case .page4K: leaves4K += 1
    case .page2M: leaves2M += 1
    default: leaves1G += 1
    }
    return nil
  }

  /// Compares the statistics.
  public func conclusion(in machine: borrowing VirtualMachine) -> Violation? {
    compare(.pages_4k, leaves4K, machine) ?? compare(.pages_2m, leaves2M, machine)
      ?? compare(.pages_1g, leaves1G, machine)
  }

  private func compare(
    _ counter: MachineCounter, _ found: Int64, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    let stated = machine.statistic(counter)
    return stated == found
      ? nil : Violation(Self.rule, found: "\(counter) is \(stated), a scan finds \(found)")
  }
}
