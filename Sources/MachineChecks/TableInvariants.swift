import GuestMemory
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
public import VirtualMachine

/// What must hold of every entry of every live direct table, found by a full scan.
///
/// * A table's one parent entry is the entry that points to it, and its level is one less.
/// * No entry is frozen while nothing happens.
/// * A leaf maps the host frame that memslot and host page table give, of no larger size, and
/// grants   no write that either refuses.
/// * An entry says "device" only where no slot is, or is too old to be used.
/// * The statistics count exactly the leaves that the scan finds.
public struct TableInvariants {
  private var leaves = [0, 0, 0, 0] as [Int64]

  /// A scan that has found nothing yet.
  public init() {}

  /// Scans a machine at rest; the first violation, if any.
  public mutating func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if let violation = scan(row, machine) { return violation }
      id = machine.tables.arena.nextActive(after: id)
    }
    let counters: [(MachineCounter, Int)] = [(.pages_4k, 1), (.pages_2m, 2), (.pages_1g, 3)]
    for (counter, depth) in counters where machine.statistic(counter) != leaves[depth] {
      return Violation(
        "the statistics count the leaves",
        found: "\(counter) is \(machine.statistic(counter)), a scan finds \(leaves[depth])")
    }
    return nil
  }

  private mutating func scan(
    _ root: ShadowPage, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    var path = EntryPath(
      in: machine.tables.memory, root: root.frame, level: root.role.level, space: root.role.space,
      frame: GuestFrame(0))
    repeat {
      if path.entry == .nonpresent { continue }
      if let violation = check(path, isValid: !root.role.isInvalid, machine) { return violation }
    } while path.advance()
    return nil
  }

  private mutating func check(
    _ path: EntryPath, isValid: Bool, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    let place =
      "entry \(hex(path.entry.raw)) at \(hex(path.address.raw)), "
      + "level \(path.level.depth), frame \(hex(path.frame.number))"
    if path.entry.isFrozen { return Violation("no entry is frozen at rest", found: place) }
    if path.entry.isPresentTable(at: path.level) {
      let row = machine.tables.arena[
        machine.tables.page(of: path.entry.frame, machine.process.host)]
      let isLinked =
        row.parentEntry == path.address && row.role.level == path.level.below
        && row.state == .live && row.guestFrame == path.frame
      return isLinked ? nil : Violation("a table and its parent entry agree", found: place)
    }
    if path.entry.isPresent {
      leaves[Int(path.level.depth)] += 1
      return isValid ? checkLeaf(path, place, machine) : nil
    }
    guard machine.tables.encoding.isMMIO(path.entry), isValid else { return nil }
    let slot = machine.slots.slot(containing: path.frame, in: path.space)
    let generation = machine.slots.generation(of: path.space).raw & SPTELayout.MMIO.generationMask
    let isCurrent = machine.tables.encoding.mmioGeneration(of: path.entry) == generation
    return slot != nil && isCurrent
      ? Violation("a device entry stands only where no slot is", found: place) : nil
  }

  private func checkLeaf(
    _ path: EntryPath, _ place: String, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    guard let slot = machine.slots.slot(containing: path.frame, in: path.space) else {
      return Violation("a leaf lies in a slot", found: place)
    }
    let address = slot.hostAddress(of: path.frame)
    guard let page = machine.process.lookUpMapped(address, for: .read) else {
      return Violation("a leaf maps a page that the host process has", found: place)
    }
    if page.frame != path.entry.frame {
      return Violation(
        "a leaf maps the frame that the host process has",
        found: "\(place), the host has frame \(hex(page.frame.number))")
    }
    if path.level > machine.process.mappingLevel(at: address) {
      return Violation("a leaf is no larger than the host's page", found: place)
    }
    if path.entry.isWritable && (!page.isWritable || slot.isReadOnly) {
      return Violation("a leaf grants no write that slot or host refuses", found: place)
    }
    return nil
  }
}
