import HostMemory
import PageTables
public import VirtualMachine

/// What lies in a processor's stock is stock: each table there has a row that says so, lies there
/// once, and is empty, so that it can be linked as it is.
public enum StockedTables {
  /// The rule as a sentence.
  public static let rule = "a table in stock is there once and empty"

  /// Checks every stock; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var stocked: [UInt32] = []
    for processor in 0..<machine.configuration.processors {
      for position in 0..<machine.stockCount(of: processor) {
        let id = machine.stockedTable(position, of: processor)
        let row = machine.tables.arena[id]
        let what = "table \(id.number) in the stock of processor \(processor)"
        if row.state != .cached { return Violation(rule, found: "\(what) is \(row.state)") }
        if let index = machine.tables.memory.firstEntry(
          in: row.frame, from: 0, unlike: SPTE.nonpresent.raw)
        {
          return Violation(rule, found: "\(what) has an entry \(index)")
        }
        stocked.append(id.number)
      }
    }
    stocked.sort()
    for (one, next) in zip(stocked, stocked.dropFirst()) where one == next {
      return Violation(rule, found: "table \(one) is in stock twice")
    }
    return nil
  }
}
