import PagingUnits
import HostMemory
import PageTables
public import VirtualMachine

/// The frame of every table that exists is taken for a table, and its record leads back to the
/// table's row: no table's frame is free, and no two tables share one.
public enum TableFrames {
  /// The rule as a sentence.
  public static let rule = "a table's frame is taken and leads back to its row"

  /// Checks every row; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      let row = machine.tables.arena[id]
      number += 1
      if row.state == .free { continue }
      let kind = machine.process.host.records.kind(of: row.frame)
      let owner = machine.process.host.owner(of: row.frame)
      if kind != .table || owner != id.number {
        return Violation(
          rule,
          found: "table \(id.number), \(row.state), lies in frame \(hex(row.frame.number)), "
            + "whose record says \(kind) of \(owner)")
      }
    }
    return nil
  }
}
