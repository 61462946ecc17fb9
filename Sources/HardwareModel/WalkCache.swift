/// Where a walk may start further down: upper entries and second-dimension translations that a
/// processor keeps (SDM volume 3A, "Paging-Structure Caches"; volume 3C, "Caching Translation
/// Information").
///
/// The entries lie in slabs of their own: a processor is moved about, and they are kilobytes.
@safe struct WalkCache: ~Copyable {
  /// A table of the guest that a walk found.
  struct Upper {
    /// The address bits above what the table covers, tagged with its depth; 0 for none.
    var key: UInt64 = 0
    var root: UInt64 = 0
    var pcid: UInt16 = 0
    var table: UInt64 = 0
    var rights = GuestRights()
  }

  /// A guest-physical page's place in the host.
  struct Physical {
    /// The guest-physical page number plus one; 0 for none.
    var key: UInt64 = 0
    var root: UInt64 = 0
    var hostPage: UInt64 = 0
    var pageBytes: UInt64 = 0
    var rights = SecondRights()
  }

  private let uppers: UnsafeMutablePointer<Upper>
  private let physicals: UnsafeMutablePointer<Physical>

  init() {
    unsafe uppers = .allocate(capacity: 48)
    unsafe physicals = .allocate(capacity: 64)
    // SAFETY: both allocations are exactly this large.
    unsafe uppers.initialize(repeating: Upper(), count: 48)
    unsafe physicals.initialize(repeating: Physical(), count: 64)
  }

  deinit {
    unsafe uppers.deallocate()
    unsafe physicals.deallocate()
  }

  private static func key(_ address: UInt64, _ depth: Int) -> UInt64 {
    (address >> (12 + 9 * UInt64(depth))) << 4 | UInt64(depth) | 8
  }

  /// Below 48 for depths 1 to 3.
  private static func slot(_ address: UInt64, _ depth: Int) -> Int {
    (depth - 1) * 16 + Int(truncatingIfNeeded: address >> (12 + 9 * UInt64(depth)) & 15)
  }

  /// The lowest kept table on the way of an address: its depth is 1, 2 or 3.
  func lowestTable(
    _ address: UInt64, below levels: Int, root: UInt64, pcid: UInt16
  ) -> (depth: Int, upper: Upper)? {
    for depth in 1...3 where depth < levels {
      // SAFETY: a slot is below 48.
      let upper = unsafe uppers[Self.slot(address, depth)]
      if upper.key == Self.key(address, depth) && upper.root == root && upper.pcid == pcid {
        return (depth, upper)
      }
    }
    return nil
  }

  /// Keeps the table of `depth` on the way of an address.
  mutating func keep(
    _ address: UInt64, depth: Int, root: UInt64, pcid: UInt16, table: UInt64, _ rights: GuestRights
  ) {
    guard 1...3 ~= depth else { return }
    // SAFETY: a slot is below 48.
    unsafe uppers[Self.slot(address, depth)] = Upper(
      key: Self.key(address, depth), root: root, pcid: pcid, table: table, rights: rights)
  }

  /// The kept place of a guest-physical page.
  func physical(_ address: UInt64, root: UInt64) -> Physical? {
    let page = address >> 12
    // SAFETY: the place is below 64.
    let found = unsafe physicals[Int(truncatingIfNeeded: page & 63)]
    return found.key == page + 1 && found.root == root ? found : nil
  }

  /// Keeps the place of a guest-physical page.
  mutating func keep(physical address: UInt64, root: UInt64, _ found: Physical) {
    let page = address >> 12
    var kept = found
    kept.key = page + 1
    kept.root = root
    // SAFETY: the place is below 64.
    unsafe physicals[Int(truncatingIfNeeded: page & 63)] = kept
  }

  /// Forgets the guest's tables, of every space.
  mutating func forgetLinear() {
    // SAFETY: there are 48.
    for index in 0..<48 { unsafe uppers[index].key = 0 }
  }

  /// Forgets everything.
  mutating func forgetAll() {
    forgetLinear()
    // SAFETY: there are 64.
    for index in 0..<64 { unsafe physicals[index].key = 0 }
  }
}
