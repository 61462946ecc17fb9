import DirectMMU
import PageTables
import PagingUnits
public import VirtualMachine

/// The role of every table under a root is the root's, a level lower each step, and its generation
/// is the root's; the root's own role is the one that the machine's roots have.
public struct TableRoles: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a table's role follows from its root's"
  /// The rule before a scan.
  public init() {}

  /// Looks at the roles of the table that holds an entry and of the one that it points to.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    guard let child = seen.child else { return nil }
    let row = machine.tables.arena[child]
    if row.role != Self.valid(seen.table.role).child() {
      return broken(
        by: seen, "role \(hex(UInt64(row.role.word))) under \(hex(UInt64(seen.table.role.word)))")
    }
    return row.generation == seen.root.generation
      ? nil : broken(by: seen, "generation \(row.generation) under \(seen.root.generation)")
  }

  /// Looks at the roots.
  public func conclusion(in machine: borrowing VirtualMachine) -> Violation? {
    let use: AccessedDirtyUse =
      machine.tables.encoding.hasAccessedDirty ? .enabled : .disabled
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if row.role.isDirect && !row.role.isSubpageTable && row.parentEntry.raw == 0 {
        let expected = ShadowPageRole.directRoot(
          level: machine.configuration.rootLevel, space: row.role.space, accessedDirty: use)
        if Self.valid(row.role) != expected || row.guestFrame.number != 0 {
          return Violation(
            Self.rule,
            found: "root \(id.number) has role \(hex(UInt64(row.role.word))), "
              + "covers from frame \(hex(row.guestFrame.number))")
        }
      }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }

  /// The identity in a role, without the state.
  private static func valid(_ role: ShadowPageRole) -> ShadowPageRole {
    var role = role
    role.isInvalid = false
    return role
  }
}
