import HardwareModel
import PagingUnits

/// What a processor may lawfully still keep of the guest's tables: every translation and every
/// table that its walks came by since the last invalidation that covers it.
///
/// A real TLB forgets more than it must; this forgets exactly what it must (SDM volume 3A,
/// "Operations that Invalidate TLBs and Paging-Structure Caches").
struct RememberedWalks: Sendable {
  /// A table of the guest's that a walk came by, and what the entries above it grant.
  struct Table: Hashable, Sendable {
    var address: UInt64
    var rights: ReferenceRights
  }

  /// A page of the guest's that a walk ended at.
  struct Page: Hashable, Sendable {
    /// The first guest-physical byte.
    var address: UInt64
    /// The base-2 logarithm of its size.
    var shift: UInt64
    var rights: ReferenceRights
    var key: UInt8
    var isDirty: Bool
    var isGlobal: Bool
  }

  /// Whose a memory is: the PCID and the mode.
  struct Space: Hashable, Sendable {
    var pcid: UInt16
    var kind: UInt16

    init(_ mode: ReferenceMode) {
      pcid = mode.pcid
      kind = mode.kind
    }
  }

  private struct Kept<Thing: Hashable & Sendable>: Sendable {
    let thing: Thing
    let space: Space
    var time: UInt64
  }

  static let shifts: [UInt64] = [12, 21, 22, 30]
  /// By the address bits above what the table covers, with the table's depth below.
  private var tables: [UInt64: [Kept<Table>]] = [:]
  /// By the page's number, with the logarithm of its size below.
  private var pages: [UInt64: [Kept<Page>]] = [:]
  private var now: UInt64 = 1
  /// When everything, everything that is not global, and one PCID's was last forgotten.
  private var forgotEverything: UInt64 = 0
  private var forgotSpaces: UInt64 = 0
  private var forgotSpace: [UInt16: UInt64] = [:]
  /// When the tables of one PCID were last forgotten, as INVLPG does.
  private var forgotTables: [UInt16: UInt64] = [:]

  private func key(_ linear: UInt64, _ shift: UInt64, _ low: UInt64) -> UInt64 {
    (linear >> shift) << 6 | low
  }

  private func isAlive(_ space: Space, _ time: UInt64, isGlobal: Bool) -> Bool {
    if time <= forgotEverything { return false }
    if isGlobal { return true }
    return time > forgotSpaces && time > forgotSpace[space.pcid] ?? 0
  }

  private func isAlive(_ kept: Kept<Table>) -> Bool {
    isAlive(kept.space, kept.time, isGlobal: false)
      && kept.time > forgotTables[kept.space.pcid] ?? 0
  }

  private func isAlive(_ kept: Kept<Page>) -> Bool {
    isAlive(kept.space, kept.time, isGlobal: kept.thing.isGlobal)
  }

  // MARK: Asking

  /// Calls with the tables of `depth` that may be kept on the way of an address; each covers
  /// `1 << shift` bytes.
  func forEachTable(
    _ linear: UInt64, depth: Int, shift: UInt64, _ space: Space, _ body: (Table) -> Void
  ) {
    guard let kept = tables[key(linear, shift, UInt64(depth))] else { return }
    for one in kept where one.space == space && isAlive(one) { body(one.thing) }
  }

  /// Calls with the translations that may be kept of an address.
  func forEachPage(_ linear: UInt64, _ space: Space, _ body: (Page) -> Void) {
    for shift in Self.shifts {
      guard let kept = pages[key(linear, shift, shift)] else { continue }
      for one in kept where isAlive(one) && one.space.kind == space.kind {
        if one.thing.isGlobal || one.space.pcid == space.pcid { body(one.thing) }
      }
    }
  }

  /// Whether a translation may be kept under any mode.
  func mayKeep(_ linear: UInt64, pcid: UInt16, isGlobal: Bool, at physical: UInt64) -> Bool {
    for shift in Self.shifts {
      guard let kept = pages[key(linear, shift, shift)] else { continue }
      for one in kept where isAlive(one) && one.thing.isGlobal == isGlobal {
        let inPage: UInt64 = 1 << shift - 1
        if one.thing.address | linear & inPage == physical
          && (isGlobal || one.space.pcid == pcid)
        {
          return true
        }
      }
    }
    return false
  }

  // MARK: Remembering

  mutating func remember(
    _ table: Table, _ linear: UInt64, depth: Int, shift: UInt64, _ space: Space
  ) {
    let key = key(linear, shift, UInt64(depth))
    now += 1
    var kept = tables[key] ?? []
    if let index = kept.firstIndex(where: { $0.space == space && $0.thing == table }) {
      kept[index].time = now
    } else {
      kept.removeAll { !isAlive($0) }
      kept.append(Kept(thing: table, space: space, time: now))
    }
    tables[key] = kept
  }

  mutating func remember(_ page: Page, _ linear: UInt64, _ space: Space) {
    let key = key(linear, page.shift, page.shift)
    now += 1
    var kept = pages[key] ?? []
    if let index = kept.firstIndex(where: { $0.space == space && $0.thing == page }) {
      kept[index].time = now
    } else {
      kept.removeAll { !isAlive($0) }
      kept.append(Kept(thing: page, space: space, time: now))
    }
    pages[key] = kept
    if pages.count + tables.count > 1 << 14 { tidy() }
  }

  /// Throws away what is dead; what lives stays, however much it is.
  private mutating func tidy() {
    let (oldTables, oldPages) = (tables, pages)
    tables = oldTables.compactMapValues { kept in
      let alive = kept.filter { isAlive($0) }
      return alive.isEmpty ? nil : alive
    }
    pages = oldPages.compactMapValues { kept in
      let alive = kept.filter { isAlive($0) }
      return alive.isEmpty ? nil : alive
    }
  }

  // MARK: Forgetting

  /// Forgets what would be used for an address, as a page fault does.
  mutating func forgetPath(_ linear: UInt64, _ space: Space, shift: (Int) -> UInt64) {
    for depth in 1...4 {
      let key = key(linear, shift(depth + 1), UInt64(depth))
      if tables[key] != nil { tables[key]?.removeAll { $0.space == space } }
    }
    // Of a large page only the part around the address goes; the others may be kept by themselves.
    let key = key(linear, 12, 12)
    if pages[key] != nil {
      pages[key]?.removeAll {
        $0.space.kind == space.kind && ($0.thing.isGlobal || $0.space.pcid == space.pcid)
      }
    }
  }

  private mutating func forgetPages(
    _ linear: UInt64, where isDoomed: (_ space: Space, _ isGlobal: Bool) -> Bool
  ) {
    for shift in Self.shifts {
      let key = key(linear, shift, shift)
      if pages[key] != nil {
        pages[key]?.removeAll { isDoomed($0.space, $0.thing.isGlobal) }
      }
    }
  }

  /// Follows an invalidation; the mode tells the current PCID and how far addresses go.
  mutating func forget(_ what: Invalidation, _ mode: ReferenceMode) {
    // What comes later is newer than what was forgotten.
    now += 1
    let address: (GuestVirtual) -> UInt64 = { mode.is64Bit ? $0.raw : $0.raw & 0xFFFF_FFFF }
    switch what {
    case .everything, .allRoots, .allLinear: forgetAll()
    case .currentSpace: forgotSpace[mode.pcid] = now
    case .space(let pcid): forgotSpace[pcid] = now
    case .allSpaces: forgotSpaces = now
    case .linearAddress(let linear):
      forgotTables[mode.pcid] = now
      forgetPages(address(linear)) { $1 || $0.pcid == mode.pcid }
    case .linearAddressIn(let pcid, let linear):
      forgotTables[pcid] = now
      forgetPages(address(linear)) { !$1 && $0.pcid == pcid }
    // A machine's processors run under identifier 0.
    case .linearAddressOf(let identifier, let linear):
      guard identifier == 0 else { return }
      forgetPages(linear.raw) { _, _ in true }
    case .identifier(let identifier): if identifier == 0 { forgetAll() }
    case .identifierExceptGlobal(let identifier): if identifier == 0 { forgotSpaces = now }
    case .root, .allIdentifiers: break
    }
    now += 1
  }

  private mutating func forgetAll() {
    tables.removeAll(keepingCapacity: true)
    pages.removeAll(keepingCapacity: true)
    forgotEverything = now
    forgotSpace.removeAll(keepingCapacity: true)
    forgotTables.removeAll(keepingCapacity: true)
  }
}
