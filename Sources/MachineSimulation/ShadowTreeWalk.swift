import HostMemory
import PageTables
import PagingUnits

/// A walk over the tables that a processor's hardware goes by in the place of the guest's own, in
/// the order of linear addresses.
///
/// A table that several ways lead to is told once: a guest whose tables map themselves has more
/// ways than anybody could read.
struct ShadowTreeWalk {
  private let tables: [HostFrame: TableExport.Table]
  private let encoding: EntryEncoding
  private var met: Set<HostFrame> = []
  private var range: MappedRange?

  /// Nothing met yet.
  init(_ export: TableExport, _ encoding: EntryEncoding) {
    tables = Dictionary(export.tables.map { ($0.frame, $0) }) { first, _ in first }
    self.encoding = encoding
  }

  /// Meets every table of a root before what lies under it, and every range.
  mutating func visit(
    _ root: TableExport.Root, _ memory: PhysicalMemory, _ body: (TableTree.Item) -> Void
  ) {
    visit(root.table.frame, root.level, from: 0, root.level, memory, body)
    finish(body)
  }

  private mutating func visit(
    _ frame: HostFrame, _ level: Level, from start: UInt64, _ root: Level,
    _ memory: PhysicalMemory, _ body: (TableTree.Item) -> Void
  ) {
    finish(body)
    guard let table = tables[frame] else { return }
    let isNew = met.insert(frame).inserted
    body(.table(table, isNew ? .first : .again))
    guard isNew else { return }
    // Of PAE paging's table four entries count.
    let count: UInt64 = level == .page1G && root == .page1G ? 4 : 512
    for index in 0..<count {
      let entry = SPTE(raw: memory.entry(at: frame.address + index * 8))
      let first = GuestFrame(Self.canonical(start + index * level.byteCount, root) >> 12)
      if let next = MappedRange(entry, at: level, from: first, .linear, encoding) {
        if range?.extend(over: next) == true { continue }
        finish(body)
        range = next
      } else if entry.raw & 1 == 1, let below = level.below {
        let table = encoding.frame(of: entry)
        visit(table, below, from: start + index * level.byteCount, root, memory, body)
      } else {
        finish(body)
      }
    }
  }

  private mutating func finish(_ body: (TableTree.Item) -> Void) {
    if let range { body(.range(range)) }
    range = nil
  }

  /// The address that processors know a place by: its highest bit stands in all bits above.
  private static func canonical(_ address: UInt64, _ root: Level) -> UInt64 {
    guard root > .page1G else { return address }
    let bits = 12 + 9 * UInt64(root.depth)
    return address >> (bits - 1) & 1 == 1 ? address | ~0 << bits : address
  }
}
