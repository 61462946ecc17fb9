import GuestMemory
import PageTables
import PagingUnits
public import VirtualMachine

/// While no operation is under way, none has left anything open: no invalidation or notifier
/// between begin and end, no layout of memslots half published, nobody looking at tables, and the
/// MMU lock free.
public enum Rest {
  /// The rule as a sentence.
  public static let rule = "nothing is under way at rest"

  /// Checks what operations open and close; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    if machine.slots.invalidations.isInProgress {
      return Violation(rule, found: "an invalidation is in progress")
    }
    let notifiers = machine.slots.invalidations.activeNotifiers
    if notifiers != 0 { return Violation(rule, found: "\(notifiers) notifiers have not ended") }
    for space in AddressSpace.allCases
    where machine.slots.generation(of: space).isInProgress {
      return Violation(rule, found: "memslots of address space \(space.rawValue) are changing")
    }
    if !machine.tables.quiet.isQuiet { return Violation(rule, found: "a reader looks at tables") }
    return machine.tables.lock.isFree ? nil : Violation(rule, found: "the MMU lock is held")
  }
}
