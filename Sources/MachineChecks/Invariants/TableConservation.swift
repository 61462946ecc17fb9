import PageTables
public import VirtualMachine

/// No table is lost and none is counted twice: each is linked under a live root or is one, lies in
/// a processor's stock, or is retired and on that list; all together are those that the arena says
/// exist.
public struct TableConservation: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "every table is linked, in stock or retired"
  private var linked = 0

  /// No table was reached yet.
  public init() {}

  /// Counts a table that an entry points to.
  public mutating func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    if seen.child != nil { linked += 1 }
    return nil
  }

  /// Compares the counts with the rows.
  public func conclusion(in machine: borrowing VirtualMachine) -> Violation? {
    var stocked = 0
    for processor in 0..<machine.configuration.processors {
      stocked += machine.stockCount(of: processor)
    }
    let roots = machine.tables.arena.length(of: .active) ?? -1
    let rows = Self.rows(of: machine)
    return compare("live", rows.live, linked + roots + SubpageTables.linkedCount(in: machine))
      ?? compare("cached", rows.cached, stocked)
      ?? compare("retired", rows.retired, machine.tables.arena.length(of: .retired) ?? -1)
      ?? compare("free", rows.free, machine.tables.arena.length(of: .free) ?? -1)
      ?? compare(
        "existing", machine.tables.arena.tableCount, rows.live + rows.cached + rows.retired)
  }

  private func compare(_ what: String, _ stated: Int, _ found: Int) -> Violation? {
    stated == found
      ? nil : Violation(Self.rule, found: "\(stated) tables are \(what), a scan finds \(found)")
  }

  private struct RowCounts {
    var live = 0
    var cached = 0
    var retired = 0
    var free = 0
  }

  private static func rows(of machine: borrowing VirtualMachine) -> RowCounts {
    var counts = RowCounts()
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      switch machine.tables.arena[id].state {
      case .live: counts.live += 1
      case .cached: counts.cached += 1
      case .retired: counts.retired += 1
      case .free: counts.free += 1
      }
      number += 1
    }
    return counts
  }
}
