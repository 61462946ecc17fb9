import DirectMMU
public import GuestMemory
public import HostMemory
public import PageTables
public import PagingUnits
public import VirtualMachine

/// An entry of a live table, with what a scan knows of its surroundings.
public struct SeenEntry: Sendable {
  /// The row of the table that holds the entry.
  public let table: ShadowPage
  /// The row of the tree's root.
  public let root: ShadowPage
  /// The entry, which is not empty.
  public internal(set) var entry = SPTE.nonpresent
  /// Where the entry lies.
  public internal(set) var address = HostPhysical(0)
  /// The first frame that it covers.
  public internal(set) var frame = GuestFrame(0)
  /// The host frame that it maps or points to.
  public internal(set) var target = HostFrame(0)
  /// The table that it points to, if that table's row agrees that it does.
  public internal(set) var child: ShadowPageID?
  /// The memslot that holds the frame.
  public internal(set) var slot: Memslot?
  /// What the host process maps there.
  public internal(set) var mapping: HostMapping?

  /// The level of the table that holds the entry.
  public var level: Level { table.role.level }
  /// Whether the entry is present and maps memory.
  public var isLeaf: Bool { entry.isPresentLeaf(at: level) }

  /// Where the entry stands, for a report.
  public var place: String {
    "entry \(hex(entry.raw)) at \(hex(address.raw)), level \(level.depth), "
      + "frame \(hex(frame.number))"
  }
}

/// A rule about every entry of every live tree of direct tables.
///
/// One scan serves many rules: it walks each tree once, however many look on.
public protocol EntryInvariant {
  /// The rule as a sentence.
  static var rule: String { get }
  /// The rule before a scan.
  init()
  /// Looks at an entry that is not empty; the first violation ends the scan.
  mutating func violation(of seen: SeenEntry, in machine: borrowing VirtualMachine) -> Violation?
  /// Looks at what the whole scan came to.
  func conclusion(in machine: borrowing VirtualMachine) -> Violation?
}

extension EntryInvariant {
  /// Most rules say all they have to say entry by entry.
  public func conclusion(in machine: borrowing VirtualMachine) -> Violation? { nil }

  /// Checks the rule by itself; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var scan = TableScan(Self())
    return scan.violation(in: machine)
  }

  /// What is reported of an entry that breaks the rule.
  func broken(by seen: SeenEntry, _ remark: String = "") -> Violation {
    Violation(Self.rule, found: remark.isEmpty ? seen.place : "\(seen.place): \(remark)")
  }
}

/// A walk over the trees of all listed direct roots, entry by entry.
///
/// Its cost goes with the tables in use. A table whose row does not agree with the entry that
/// points to it is not entered, so that no corruption sends the walk in circles.
struct TableScan<Rule: EntryInvariant> {
  private var rule: Rule
  private var hint = SlotHint()

  init(_ rule: Rule) { self.rule = rule }

  /// Walks a machine at rest; the first violation, if any.
  mutating func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      if row.role.isDirect && !row.role.isSubpageTable && row.parentEntry.raw == 0,
        let violation = violation(in: row, under: row, machine)
      {
        return violation
      }
      id = machine.tables.arena.nextActive(after: id)
    }
    return rule.conclusion(in: machine)
  }

  /// Walks a table and what lies under it; the recursion is as deep as a tree, at most five.
  private mutating func violation(
    in table: ShadowPage, under root: ShadowPage, _ machine: borrowing VirtualMachine
  ) -> Violation? {
    var seen = SeenEntry(table: table, root: root)
    var next = 0
    while let index = machine.tables.memory.firstEntry(
      in: table.frame, from: next, unlike: SPTE.nonpresent.raw)
    {
      seen.address = table.frame.address + UInt64(index) * 8
      seen.entry = SPTE(raw: machine.tables.memory.entry(at: seen.address))
      seen.frame = table.guestFrame + UInt64(index) * seen.level.frameCount
      seen.target = machine.tables.encoding.frame(of: seen.entry)
      seen.child = Self.child(of: seen, machine)
      seen.slot = nil
      seen.mapping = nil
      if seen.child == nil && !seen.entry.isPresentTable(at: seen.level) {
        seen.slot = machine.slots.slot(
          containing: seen.frame, in: root.role.space, hint: &hint)
        seen.mapping = seen.slot.flatMap {
          machine.process.mapping(at: $0.hostAddress(of: seen.frame))
        }
      }
      if let violation = rule.violation(of: seen, in: machine) { return violation }
      if let child = seen.child,
        let violation = violation(in: machine.tables.arena[child], under: root, machine)
      {
        return violation
      }
      next = index + 1
    }
    return nil
  }

  /// The table under an entry, when frame, record and row all agree that it is.
  private static func child(
    of seen: SeenEntry, _ machine: borrowing VirtualMachine
  ) -> ShadowPageID? {
    let host = machine.tables.memory
    guard seen.entry.isPresentTable(at: seen.level), host.contains(seen.target),
      machine.process.host.records.kind(of: seen.target) == .table,
      let id = machine.tables.arena.row(machine.process.host.owner(of: seen.target))
    else { return nil }
    let row = machine.tables.arena[id]
    let agrees =
      row.state == .live && row.frame == seen.target && row.parentEntry == seen.address
      && row.role.level == seen.level.below && row.guestFrame == seen.frame
    return agrees ? id : nil
  }
}
