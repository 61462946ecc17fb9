import GuestMemory
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import ShadowMMU
public import VirtualMachine

/// Shadow tables, reverse maps, parent links, write tracking and unsync marks say the same.
///
/// * A leaf is on the reverse map of the frame that it maps, and a reverse map holds leaves alone.
/// * An entry that points to a table is among that table's parents, and the other way round.
/// * An entry is marked exactly when it leads to a table out of sync.
/// * No leaf lets a processor write to a shadowed table, unless it is one of level 1 out of sync.
/// * A leaf maps the page that the host has there.
public struct ShadowTables {
  /// The rule as a sentence.
  public static let rule = "shadow tables, reverse maps, parents and marks agree"

  private var leaves: [Int] = [0, 0, 0, 0]
  private var links = 0
  private var parents = 0
  private var unsync = 0
  private var indirect = 0
  private var upper = 0

  /// Scans a machine at rest; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var scan = ShadowTables()
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      guard machine.tables.arena[id].state == .live else { continue }
      if let found = scan.look(at: id, machine) { return Violation(rule, found: found) }
    }
    return scan.conclusion(machine).map { Violation(rule, found: $0) }
  }

  private mutating func look(
    at id: ShadowPageID, _ machine: borrowing VirtualMachine
  ) -> String? {
    let row = machine.tables.arena[id]
    let record = machine.tables.shadow[id]
    let what = "table \(id.number) of level \(row.role.depth), frame \(hex(row.guestFrame.number))"
    var marked = 0
    var next = 0
    while let index = machine.tables.memory.firstEntry(
      in: row.frame, from: next, unlike: SPTE.nonpresent.raw)
    {
      next = index + 1
      let place = ShadowPlace(id, index)
      let entry = machine.tables.entry(at: place)
      var leadsToUnsync = false
      if entry.isPresentLeaf(at: row.role.level) {
        leaves[row.role.depth] += 1
        if let found = look(atLeaf: place, entry, row, machine) {
          return "\(what), entry \(index): \(found)"
        }
      } else if let child = machine.tables.child(at: place, machine.process.host) {
        links += 1
        if machine.tables.arena[child].state != .live { return "\(what) points to a dead table" }
        let address = machine.tables.address(of: place)
        if !contains(machine.tables.shadow[child].parents, address, machine) {
          return "\(what), entry \(index) is not among the parents of table \(child.number)"
        }
        let childRecord = machine.tables.shadow[child]
        leadsToUnsync = childRecord.isUnsync || childRecord.unsyncChildren > 0
      }
      if record.leadsToUnsync(index) != leadsToUnsync {
        return "\(what), entry \(index): marked \(record.leadsToUnsync(index)), is \(leadsToUnsync)"
      }
      if leadsToUnsync { marked += 1 }
    }
    let bits = (0..<8).reduce(0) { $0 + record.unsyncBits[$1].nonzeroBitCount }
    if record.unsyncChildren != marked || bits != marked {
      return "\(what) counts \(record.unsyncChildren) marks and has \(marked)"
    }
    parents += machine.tables.maps.lists.count(record.parents)
    if record.isUnsync {
      unsync += 1
      if row.role.depth != 1 { return "\(what) is out of sync" }
    }
    if machine.tables.hasGuestEntries(id) && !row.role.isInvalid {
      indirect += 1
      if row.role.depth > 1 { upper += 1 }
    }
    return nil
  }

  private func contains(
    _ list: EntryList, _ address: HostPhysical, _ machine: borrowing VirtualMachine
  ) -> Bool {
    var walk = machine.tables.maps.lists.walk(list)
    while let found = machine.tables.maps.lists.next(&walk) { if found == address { return true } }
    return false
  }

  private func look(
    atLeaf place: ShadowPlace, _ entry: SPTE, _ row: ShadowPage,
    _ machine: borrowing VirtualMachine
  ) -> String? {
    let frame = machine.tables.translation(at: place).frame
    guard let slot = machine.slots.slot(containing: frame, in: row.role.space) else {
      return "maps frame \(hex(frame.number)) without a slot"
    }
    let map = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    let list = machine.tables.maps.leaves(map, frame, row.role.level)
    if !contains(list, machine.tables.address(of: place), machine) {
      return "is not on the reverse map of frame \(hex(frame.number))"
    }
    guard
      let page = machine.process.lookUpMapped(slot.hostAddress(of: frame), for: .read)
    else { return "maps frame \(hex(frame.number)), which the host does not have" }
    let encoding = machine.tables.encoding
    let mapped = encoding.frame(of: entry)
    if page.frame != mapped {
      return "maps host frame \(hex(mapped.number)), the host has \(hex(page.frame.number))"
    }
    if entry.isWritable && !encoding.isMMUWritable(entry)
      || encoding.isMMUWritable(entry) && !encoding.isHostWritable(entry)
    {
      return "writable, MMU-writable and host-writable do not follow"
    }
    guard encoding.isMMUWritable(entry) else { return nil }
    if !page.isWritable || slot.isReadOnly { return "is writable and the host's page is not" }
    for offset in 0..<row.role.level.frameCount {
      if let found = forbidden(frame + offset, map, slot, machine) { return found }
    }
    return nil
  }

  /// Why no leaf may let a processor write to a frame.
  private func forbidden(
    _ frame: GuestFrame, _ map: MapRow, _ slot: Memslot, _ machine: borrowing VirtualMachine
  ) -> String? {
    if machine.tables.maps.trackCount(map, frame) > 0 {
      return "is writable and frame \(hex(frame.number)) is tracked"
    }
    var id = machine.tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if machine.tables.hasGuestEntries(id) && row.role.space == slot.addressSpace
        && !machine.tables.shadow[id].isUnsync && row.generation == machine.shadow.generation
      {
        return "is writable and table \(id.number) in it is in sync"
      }
      id = machine.tables.arena.nextTable(of: frame, after: id)
    }
    return nil
  }

  private func conclusion(_ machine: borrowing VirtualMachine) -> String? {
    if links != parents { return "\(links) entries point to tables, which name \(parents)" }
    if unsync != Int(machine.statistic(.mmu_unsync)) {
      return "\(unsync) tables are out of sync, \(machine.statistic(.mmu_unsync)) counted"
    }
    if indirect != machine.shadow.indirectPageCount {
      return "\(indirect) tables shadow the guest's, \(machine.shadow.indirectPageCount) counted"
    }
    let counters: [MachineCounter] = [.pages_4k, .pages_2m, .pages_1g]
    for depth in 1...3 where leaves[depth] != Int(machine.statistic(counters[depth - 1])) {
      return "\(leaves[depth]) leaves at level \(depth), "
        + "\(machine.statistic(counters[depth - 1])) counted"
    }
    return maps(machine)
  }

  /// Counts the leaves on the reverse maps, and compares write tracking with the listed tables.
  private func maps(_ machine: borrowing VirtualMachine) -> String? {
    var listed = [0, 0, 0, 0]
    var tracked = 0
    for space in AddressSpace.allCases {
      var cursor = machine.slots.slots(in: space)
      while let part = machine.slots.next(&cursor) {
        let slot = part.slot
        let map = MapRow(number: slot.metadata.row, base: slot.baseFrame)
        for depth in 1...3 {
          var frame = slot.baseFrame
          while frame < slot.frames.upperBound {
            listed[depth] += machine.tables.maps.lists.count(
              machine.tables.maps.leaves(map, frame, Level(depth)))
            frame = frame.aligned(to: Level(depth)) + Level(depth).frameCount
          }
        }
        var frame = slot.baseFrame
        while frame < slot.frames.upperBound {
          let count = machine.tables.maps.trackCount(map, frame)
          if count != 0 && count != self.tracked(frame, space, machine) {
            return "frame \(hex(frame.number)) is tracked \(count) times for "
              + "\(self.tracked(frame, space, machine)) tables"
          }
          tracked += count
          frame = frame + 1
        }
      }
    }
    if tracked != upper { return "\(tracked) tables are tracked, there are \(upper)" }
    for depth in 1...3 where listed[depth] != leaves[depth] {
      return "\(listed[depth]) on the maps of level \(depth), \(leaves[depth]) leaves"
    }
    return nil
  }

  private func tracked(
    _ frame: GuestFrame, _ space: AddressSpace, _ machine: borrowing VirtualMachine
  ) -> Int {
    var count = 0
    var id = machine.tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      let role = machine.tables.arena[id].role
      if machine.tables.hasGuestEntries(id) && role.space == space && role.depth > 1 { count += 1 }
      id = machine.tables.arena.nextTable(of: frame, after: id)
    }
    return count
  }
}
