import PageTables
public import VirtualMachine

/// The lists of tables are whole: each row on the active list is live, points back to the one
/// before it, and, if it is valid, is what its frame and role find.
public enum ListedTables {
  /// The rule as a sentence.
  public static let rule = "every listed table is live and is found by frame and role"

  /// Walks the lists; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    guard let length = machine.tables.arena.length(of: .active),
      machine.tables.arena.length(of: .free) != nil,
      machine.tables.arena.length(of: .retired) != nil
    else { return Violation(rule, found: "a list's links lead astray") }
    if length != machine.tables.arena.activeCount {
      return Violation(
        rule, found: "\(length) are listed, \(machine.tables.arena.activeCount) are counted")
    }
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if row.state != .live {
        return Violation(rule, found: "table \(id.number) is listed and \(row.state)")
      }
      let found = machine.tables.arena.find(
        row.guestFrame, row.role, generation: row.generation
      ).page
      if found != id && !row.role.isInvalid {
        return Violation(
          rule, found: "table \(id.number)'s frame and role find \(found?.number ?? 0)")
      }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }
}
