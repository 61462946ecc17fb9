import HardwareModel
import HostMemory
import PageTables
import PagingUnits
public import Reports
public import VirtualMachine

/// The tables of a machine as a tree: each root with its tables, and under each table the ranges
/// that its own entries map; then the tables of sub-page permissions, with the pages of which some
/// may not be written.
public struct TableTree {
  private let export: TableExport
  private var tableCounts = [UInt64](repeating: 0, count: 6)
  private var pageCounts = [UInt64](repeating: 0, count: 6)
  private var devices: UInt64 = 0
  private var roots: Set<HostFrame> = []

  /// The tree of a machine at rest.
  public init(_ machine: borrowing VirtualMachine) { export = TableExport(machine) }

  // MARK: Text

  /// Writes the tree for people; a root that several processors share is written once.
  public mutating func appendText(of machine: borrowing VirtualMachine, to text: inout TextBuffer) {
    for root in export.roots {
      appendHeading(of: root, to: &text)
      let frame = root.table.frame
      guard roots.insert(frame).inserted else {
        text.append("  as above\n")
        continue
      }
      walk(root, machine) { Self.appendLine(of: $0, under: root.level, to: &text) }
      guard let table = root.subpageTable else { continue }
      text.append("  SPPTP ")
      text.appendPrefixedHex(table.raw)
      text.endLine()
      walkSubpages(table.frame, machine) { Self.appendLine(of: $0, under: .level4, to: &text) }
    }
    appendCounts(to: &text)
  }

  private static func appendLine(of item: Item, under root: Level, to text: inout TextBuffer) {
    switch item {
    case .table(let table, let place):
      text.append(repeating: 0x20, times: 2 + 2 * Int(root.depth - table.role.level.depth))
      text.append("level ")
      text.appendDecimal(UInt64(table.role.level.depth))
      text.append(" table at ")
      text.appendPrefixedHex(table.frame.address.raw)
      appendPlace(place, of: table, to: &text)
      text.endLine()
    case .range(let range):
      text.append(repeating: 0x20, times: 4 + 2 * Int(root.depth - range.level.depth))
      range.appendLine(to: &text)
    case .permissions(let frame, let access):
      text.append(repeating: 0x20, times: 4 + 2 * Int(root.depth - Level.page4K.depth))
      text.appendPrefixedHex(frame.address.raw)
      text.append("  writable sub-pages ")
      text.appendPrefixedHex(UInt64(access.rawValue))
      text.endLine()
    }
  }

  private static func appendPlace(
    _ place: Place, of table: TableExport.Table, to text: inout TextBuffer
  ) {
    switch table.kind {
    case .direct, .spp:
      text.append(", from ")
      text.appendPrefixedHex(table.guestFrame.address.raw)
    case .shadow where table.guestFrame != GuestFrame(0) || table.role.depth < 3:
      text.append(", of the guest's at ")
      text.appendPrefixedHex(table.guestFrame.address.raw)
      if table.role.hasShortEntries {
        text.append(", quadrant ")
        text.appendDecimal(UInt64(table.role.quadrant))
      }
    case .shadow, .bare: text.append(", the processor's own")
    }
    switch place {
    case .first: break
    case .again: text.append(", as above")
    case .setAside: text.append(", set aside")
    }
  }

  private func appendHeading(of root: TableExport.Root, to text: inout TextBuffer) {
    text.append("processor ")
    text.appendDecimal(UInt64(root.processor))
    text.append(string: ": \(root.register.uppercased()) ")
    text.appendPrefixedHex(root.value)
    text.append(root.space == .normal ? "\n" : ", system-management mode\n")
  }

  private func appendCounts(to text: inout TextBuffer) {
    if export.roots.isEmpty { text.append("no processor has loaded a root\n") }
    var table = TextTable([.left, .right])
    for depth in (1...5).reversed() where tableCounts[depth] > 0 {
      table.append(["tables of level \(depth)", "\(tableCounts[depth])"])
    }
    for (depth, size) in [(1, "4K"), (2, "2M"), (3, "1G")] where pageCounts[depth] > 0 {
      table.append(["pages of \(size)", "\(pageCounts[depth])"])
    }
    if devices > 0 { table.append(["device entries", "\(devices)"]) }
    table.write(to: &text)
  }

  // MARK: JSON

  /// Writes one object a line: each root, then its tables and ranges in the order of the tree.
  public mutating func appendJSON(of machine: borrowing VirtualMachine, to text: inout TextBuffer) {
    for root in export.roots {
      text.append("{")
      export.appendMembers(of: root, to: &text)
      text.append("}\n")
      walk(root, machine) { Self.appendObject(of: $0, root.processor, to: &text) }
      guard let table = root.subpageTable else { continue }
      walkSubpages(table.frame, machine) { Self.appendObject(of: $0, root.processor, to: &text) }
    }
  }

  private static func appendObject(of item: Item, _ processor: Int, to text: inout TextBuffer) {
    if case .range(let range) = item { return range.appendJSON(of: processor, to: &text) }
    text.append("{\"processor\":")
    text.appendDecimal(UInt64(processor))
    switch item {
    case .table(let table, _):
      text.append(",\"table\":")
      text.appendQuotedHex(table.frame.number)
      text.append(",")
      TableExport.appendMembers(of: table, to: &text)
    case .permissions(let frame, let access):
      text.append(",\"gpa\":")
      text.appendQuotedHex(frame.address.raw)
      text.append(",\"subpages\":")
      text.appendQuotedHex(UInt64(access.rawValue))
    case .range: break
    }
    text.append("}\n")
  }

  // MARK: The walk

  /// What a walk meets.
  enum Item {
    /// A table, before what lies under it.
    case table(TableExport.Table, Place)
    /// Entries that map something.
    case range(MappedRange)
    /// A page of which some may not be written.
    case permissions(GuestFrame, SubpageAccess)
  }

  /// Where a table is met.
  enum Place {
    /// For the first time.
    case first
    /// Once more, by another way; what lies under it is not told again.
    case again
    /// Behind an entry that is not valid and keeps it.
    case setAside
  }

  /// Meets every table of a root before what lies under it, and every range.
  private mutating func walk(
    _ root: TableExport.Root, _ machine: borrowing VirtualMachine, _ body: (Item) -> Void
  ) {
    guard machine.configuration.mmu == .direct else {
      var walk = ShadowTreeWalk(export, machine.tables.encoding)
      walk.visit(root, machine.tables.memory) { item in
        count(item)
        body(item)
      }
      return
    }
    var range: MappedRange?
    func finishRange() {
      if let done = range { body(.range(done)) }
      range = nil
    }
    meet(root.table.frame, machine, body)
    let row = machine.tables.arena[machine.tables.page(of: root.table.frame, machine.process.host)]
    var path = EntryPath(
      in: machine.tables, root: row.frame, level: row.role.level, space: row.role.space,
      frame: GuestFrame(0))
    repeat {
      if path.entry.isPresentTable(at: path.level) {
        finishRange()
        meet(path.target, machine, body)
      } else if let next = MappedRange(path, machine.tables.encoding) {
        count(.range(next))
        if range?.extend(over: next) != true {
          finishRange()
          range = next
        }
      } else {
        finishRange()
      }
    } while path.advance()
    finishRange()
  }

  private mutating func meet(
    _ frame: HostFrame, _ machine: borrowing VirtualMachine, _ body: (Item) -> Void
  ) {
    let row = machine.tables.arena[machine.tables.page(of: frame, machine.process.host)]
    let item = Item.table(TableExport.Table(row), .first)
    count(item)
    body(item)
  }

  private mutating func count(_ item: Item) {
    switch item {
    case .table(_, .again), .permissions: break
    case .table(let table, _): tableCounts[Int(table.role.level.depth)] += 1
    case .range(let range) where range.target == .device: devices += range.count
    case .range(let range): pageCounts[Int(range.level.depth)] += range.count
    }
  }

  // MARK: Sub-page permissions

  /// Meets the tables of sub-page permissions, and each page of which some may not be written.
  private func walkSubpages(
    _ root: HostFrame, _ machine: borrowing VirtualMachine, _ body: (Item) -> Void
  ) {
    func visit(_ frame: HostFrame, _ level: Level, _ place: Place) {
      let row = machine.tables.arena[machine.tables.page(of: frame, machine.process.host)]
      body(.table(TableExport.Table(row), place))
      for index in 0..<512 as Range<UInt64> {
        let first = row.guestFrame + index * level.frameCount
        let entry = machine.tables.subpageEntry(frame, level, of: first)
        guard let below = level.below else {
          if entry.access.isProtected { body(.permissions(first, entry.access)) }
          continue
        }
        if entry.hasTable { visit(entry.frame, below, entry.isValid ? .first : .setAside) }
      }
    }
    visit(root, .level4, .first)
  }
}
