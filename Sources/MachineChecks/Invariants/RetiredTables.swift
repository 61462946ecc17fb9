import HostMemory
import PageTables
import PagingUnits
public import VirtualMachine

/// A table that was unlinked maps nothing any more: whoever still walks into it finds frozen or
/// empty entries.
public enum RetiredTables {
  /// The rule as a sentence.
  public static let rule = "a retired table maps nothing"

  /// Checks every retired table; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      let row = machine.tables.arena[id]
      guard row.state == .retired else { continue }
      var next = 0
      while let index = machine.tables.memory.firstEntry(
        in: row.frame, from: next, unlike: SPTE.nonpresent.raw)
      {
        let entry = machine.tables.memory.entry(at: row.frame.address + UInt64(index) * 8)
        if SPTE(raw: entry).isPresent {
          return Violation(
            rule, found: "table \(id.number) has entry \(hex(entry)) at index \(index)")
        }
        next = index + 1
      }
    }
    return nil
  }
}
