import HardwareModel
import HostMemory
import PageTables
import PagingUnits
public import Reports
public import VirtualMachine

/// The tables of a machine as a tree: each root with its tables, and under each table the ranges
/// that its own entries map.
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
      let frame = root.frame
      guard roots.insert(frame).inserted else {
        text.append("  as above\n")
        continue
      }
      walk(root, machine) { item in
        switch item {
        case .table(let table):
          let depth = Int(machine.configuration.rootLevel.depth - table.role.level.depth)
          text.append(repeating: 0x20, times: 2 + 2 * depth)
          text.append("level ")
          text.appendDecimal(UInt64(table.role.level.depth))
          text.append(" table at ")
          text.appendPrefixedHex(table.frame.address.raw)
          text.append(", from ")
          text.appendPrefixedHex(table.guestFrame.address.raw)
          text.endLine()
        case .range(let range):
          let depth = Int(machine.configuration.rootLevel.depth - range.level.depth)
          text.append(repeating: 0x20, times: 4 + 2 * depth)
          range.appendLine(to: &text)
        }
      }
    }
    appendCounts(to: &text)
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
      walk(root, machine) { item in
        switch item {
        case .table(let table):
          text.append("{\"processor\":")
          text.appendDecimal(UInt64(root.processor))
          text.append(",\"table\":")
          text.appendQuotedHex(table.frame.number)
          text.append(",")
          TableExport.appendMembers(of: table, to: &text)
          text.append("}\n")
        case .range(let range): range.appendJSON(of: root.processor, to: &text)
        }
      }
    }
  }

  // MARK: The walk

  private enum Item {
    case table(TableExport.Table)
    case range(MappedRange)
  }

  /// Meets every table of a root before what lies under it, and every range.
  private mutating func walk(
    _ root: TableExport.Root, _ machine: borrowing VirtualMachine, _ body: (Item) -> Void
  ) {
    var range: MappedRange?
    func finishRange() {
      if let done = range { body(.range(done)) }
      range = nil
    }
    meet(root.frame, machine, body)
    let row = machine.tables.arena[machine.tables.page(of: root.frame, machine.process.host)]
    var path = EntryPath(
      in: machine.tables.memory, root: row.frame, level: row.role.level, space: row.role.space,
      frame: GuestFrame(0))
    repeat {
      if path.entry.isPresentTable(at: path.level) {
        finishRange()
        meet(path.entry.frame, machine, body)
      } else if let next = MappedRange(path, machine.tables.encoding) {
        if next.target == .device { devices += 1 } else { pageCounts[Int(next.level.depth)] += 1 }
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
    tableCounts[Int(row.role.level.depth)] += 1
    body(
      .table(TableExport.Table(frame: row.frame, role: row.role, guestFrame: row.guestFrame)))
  }
}

extension TableExport.Root {
  /// The frame of the root table.
  var frame: HostFrame { HostFrame((value & 0x000F_FFFF_FFFF_F000) >> 12) }
}
