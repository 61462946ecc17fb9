import GuestMemory
import HostMemory
import PageTables
import PagingUnits
import SubpageProtection
public import VirtualMachine

/// The tables of sub-page permissions: an entry above the lowest level is empty or points to a live
/// table whose row names that entry; where the way down is valid, each permission is that of the
/// memslot's map, and all of a page that no map protects.
///
/// Looked at entry by entry, with the words spelled out here once more.
public enum SubpageTables {
  /// The rule as a sentence.
  public static let rule = "sub-page permissions are those of the memslots' maps"

  /// How many tables are linked under the roots.
  static func linkedCount(in machine: borrowing VirtualMachine) -> Int {
    var count = 0
    forEachRoot(in: machine) { root, machine in
      _ = look(at: root, isReached: false, in: machine, counting: &count)
      return nil
    }
    return count
  }

  /// Checks every table; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    // The defects of KVM's posted series break the rule.
    guard machine.configuration.subpageQuirks.isEmpty else { return nil }
    var count = 0
    return forEachRoot(in: machine) { root, machine in
      look(at: root, isReached: !root.role.isInvalid, in: machine, counting: &count)
    }
  }

  @discardableResult private static func forEachRoot(
    in machine: borrowing VirtualMachine,
    _ body: (ShadowPage, borrowing VirtualMachine) -> Violation?
  ) -> Violation? {
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if row.role.isSubpageTable, let violation = body(row, machine) { return violation }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }

  /// Looks at a table and at what lies under it; four levels deep.
  ///
  /// * `isReached`: whether a processor's walk comes to the table.
  private static func look(
    at table: ShadowPage, isReached: Bool, in machine: borrowing VirtualMachine,
    counting count: inout Int
  ) -> Violation? {
    let level = table.role.level
    let row = table.role
    for index in 0..<512 {
      let place = table.frame.address + UInt64(index) * 8
      let word = machine.tables.memory.entry(at: place)
      let first = table.guestFrame + UInt64(index) * level.frameCount
      if level == .page4K {
        if isReached, let violation = judge(word, first, row.space, machine) { return violation }
        continue
      }
      guard word != 0 else { continue }
      let what = "entry \(hex(word)) at \(hex(place.raw)), level \(level.depth)"
      let frame = HostFrame(word >> 12)
      guard word & 0xFFE == 0, machine.tables.memory.contains(frame),
        machine.process.host.records.kind(of: frame) == .table,
        let id = machine.tables.arena.row(machine.process.host.owner(of: frame))
      else { return Violation(rule, found: "\(what) points to no table") }
      let below = machine.tables.arena[id]
      let agrees =
        below.state == .live && below.frame == frame && below.parentEntry == place
        && below.role == expectedRole(under: row) && below.guestFrame == first
      guard agrees else {
        return Violation(rule, found: "\(what) points to table \(id.number), of another place")
      }
      count += 1
      let goesOn = isReached && word & 1 == 1
      if let violation = look(at: below, isReached: goesOn, in: machine, counting: &count) {
        return violation
      }
    }
    return nil
  }

  private static func expectedRole(under role: ShadowPageRole) -> ShadowPageRole {
    var role = role.child()
    if role.isInvalid { role = ShadowPageRole(word: role.word & ~(1 << 11)) }
    return role
  }

  private static func judge(
    _ word: UInt64, _ frame: GuestFrame, _ space: AddressSpace, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    var access = UInt32.max
    if let slot = machine.slots.slot(containing: frame, in: space) {
      let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
      access = machine.tables.subpages[row, frame].rawValue
    }
    var expected: UInt64 = 0
    for bit in 0..<32 where access >> UInt32(bit) & 1 == 1 { expected |= 1 << UInt64(2 * bit) }
    return word == expected
      ? nil
      : Violation(
        rule,
        found: "frame \(hex(frame.number)) has \(hex(word)), its map means \(hex(expected))")
  }
}
