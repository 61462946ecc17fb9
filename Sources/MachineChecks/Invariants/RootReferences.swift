import DirectMMU
import PageTables
import PagingUnits
import SubpageProtection
public import VirtualMachine

/// A root's references are those of the processors that walk it and, until it was invalidated and
/// emptied, the MMU's own; a processor walks a listed root of its address space, and one that was
/// invalidated only until it serves the request to leave it.
public enum RootReferences {
  /// The rule as a sentence.
  public static let rule = "a root is referenced by the processors on it and by the MMU"

  /// Checks every root and every processor; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var held = [UInt32](repeating: 0, count: machine.tables.arena.rowCount + 1)
    for processor in 0..<machine.configuration.processors {
      for id in [machine.root(of: processor), machine.subpageRoot(of: processor)]
      where id != .none {
        held[Int(id.number)] += 1
        if let violation = check(processor, on: id, machine) { return violation }
      }
    }
    var valid: [ShadowPageRole] = []
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      let own: UInt32 = row.role.isInvalid && !row.isScheduledToZap ? 0 : 1
      if row.rootReferences != held[Int(id.number)] + own {
        return Violation(
          rule,
          found: "root \(id.number) has \(row.rootReferences) references, of them "
            + "\(held[Int(id.number)]) of processors and \(own) of the MMU")
      }
      if !row.role.isInvalid {
        if valid.contains(row.role) || row.generation != machine.direct.generation {
          return Violation(rule, found: "root \(id.number) is valid beside another or is old")
        }
        valid.append(row.role)
      }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }

  private static func check(
    _ processor: Int, on id: ShadowPageID, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    let row = machine.tables.arena[id]
    let what = "processor \(processor) is on table \(id.number)"
    if row.state != .live || row.parentEntry.raw != 0 {
      return Violation(rule, found: "\(what), which is no live root")
    }
    if row.role.space != machine.addressSpace(of: processor) {
      return Violation(rule, found: "\(what), of the other address space")
    }
    // One of the defects of KVM's posted series takes a root from processors that go on with it.
    let isTaken = row.role.isSubpageTable && !machine.configuration.subpageQuirks.isEmpty
    return row.role.isInvalid && !isTaken && !machine.hasRequests(of: processor)
      ? Violation(rule, found: "\(what), which is invalid, and was not asked to leave") : nil
  }
}
