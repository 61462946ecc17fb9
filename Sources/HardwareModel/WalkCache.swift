import PagingUnits

/// Where a walk may start further down: upper entries and second-dimension translations.
///
/// SDM volume 3A, "Paging-Structure Caches"; volume 3C, "Caching Translation Information".
///
/// The entries lie in slabs of their own: a processor is moved about, and they are kilobytes.
@safe struct WalkCache: ~Copyable {
  /// A table of the guest that a walk found.
  struct Upper {
    /// The address bits above what the table covers, tagged with its depth; 0 for none.
    var key: UInt64 = 0
    var root: UInt64 = 0
    var space: UInt64 = 0
    var table: UInt64 = 0
    /// What the entries above grant and forbid together.
    var gathered = GatheredBits()
  }

  /// A guest-physical page's place in the host.
  struct Physical {
    /// The guest-physical page number plus one; 0 for none.
    var key: UInt64 = 0
    var root: UInt64 = 0
    var hostPage: UInt64 = 0
    var level = Level.page4K
    var rights = SecondRights.all

    /// Nothing.
    init() {}

    /// What a walk found.
    init(_ found: SecondFound) {
      hostPage = found.host & ~0xFFF
      level = found.level
      rights = found.rights
    }

    /// Whether it may be used for an access.
    func permits(_ kind: AccessKind, writes: Bool) -> Bool {
      rights.contains(kind == .fetch ? .execute : .read)
        && (!writes || rights.isSuperset(of: [.write, .dirty]))
    }

    /// What it says of an address of the page.
    func found(_ address: UInt64) -> SecondFound {
      SecondFound(host: hostPage | address & 0xFFF, level: level, rights: rights)
    }
  }

  static let upperCount = 48
  static let physicalCount = 64
  private let uppers: UnsafeMutablePointer<Upper>
  private let physicals: UnsafeMutablePointer<Physical>

  init() {
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe uppers = .allocate(capacity: Self.upperCount)
    unsafe physicals = .allocate(capacity: Self.physicalCount)
    // SAFETY: both allocations are exactly this large.
    unsafe uppers.initialize(repeating: Upper(), count: Self.upperCount)
    unsafe physicals.initialize(repeating: Physical(), count: Self.physicalCount)
  }

  deinit {
    unsafe uppers.deallocate()
    unsafe physicals.deallocate()
  }

  private static func key(_ address: UInt64, _ depth: Int) -> UInt64 {
    (address >> (12 + 9 * UInt64(depth))) << 4 | UInt64(depth) | 8
  }

  /// Below `upperCount` for depths 1 to 3.
  private static func slot(_ address: UInt64, _ depth: Int) -> Int {
    (depth - 1) * 16 + Int(truncatingIfNeeded: address >> (12 + 9 * UInt64(depth)) & 15)
  }

  private static func slot(_ physical: UInt64) -> Int {
    Int(truncatingIfNeeded: (physical >> 12) % UInt64(physicalCount))
  }

  /// The lowest kept table on the way of an address: its depth is 1, 2 or 3.
  func lowestTable(_ address: UInt64, _ tag: TranslationTag) -> (depth: Int, upper: Upper)? {
    for depth in 1...3 {
      // SAFETY: a slot is below the number of uppers.
      let upper = unsafe uppers[Self.slot(address, depth)]
      if upper.key == Self.key(address, depth) && upper.root == tag.root
        && upper.space == tag.space
      {
        return (depth, upper)
      }
    }
    return nil
  }

  /// Keeps the table of `depth` on the way of an address.
  mutating func keep(
    _ address: UInt64, depth: Int, _ tag: TranslationTag, table: UInt64, _ gathered: GatheredBits
  ) {
    guard 1...3 ~= depth else { return }
    // SAFETY: a slot is below the number of uppers.
    unsafe uppers[Self.slot(address, depth)] = Upper(
      key: Self.key(address, depth), root: tag.root, space: tag.space, table: table,
      gathered: gathered)
  }

  /// The kept place of a guest-physical page.
  func physical(_ address: UInt64, root: UInt64) -> Physical? {
    // SAFETY: a slot is below the number of physicals.
    let found = unsafe physicals[Self.slot(address)]
    return found.key == (address >> 12) + 1 && found.root == root ? found : nil
  }

  /// The kept place with an index, for those who check.
  func physical(at index: Int) -> Physical? {
    precondition(0 <= index && index < Self.physicalCount, "a walk cache has this many places")
    // SAFETY: the index was checked.
    let found = unsafe physicals[index]
    return found.key != 0 ? found : nil
  }

  /// The kept table with an index, for those who check.
  func upper(at index: Int) -> Upper? {
    precondition(0 <= index && index < Self.upperCount, "a walk cache has this many tables")
    // SAFETY: the index was checked.
    let found = unsafe uppers[index]
    return found.key != 0 ? found : nil
  }

  /// Keeps the place of a guest-physical page.
  mutating func keep(physical address: UInt64, root: UInt64, _ found: Physical) {
    var kept = found
    kept.key = (address >> 12) + 1
    kept.root = root
    // SAFETY: a slot is below the number of physicals.
    unsafe physicals[Self.slot(address)] = kept
  }

  /// Forgets the place of a guest-physical page, whatever root it came through.
  mutating func forget(physical address: UInt64) {
    // SAFETY: a slot is below the number of physicals.
    unsafe physicals[Self.slot(address)].key = 0
  }

  /// Forgets the guest's tables on the way of an address.
  mutating func forget(_ address: UInt64) {
    // SAFETY: a slot is below the number of uppers.
    for depth in 1...3 { unsafe uppers[Self.slot(address, depth)].key = 0 }
  }

  /// Forgets the guest's tables that `isDoomed` names.
  mutating func forgetUppers(where isDoomed: (Upper) -> Bool) {
    for index in 0..<Self.upperCount {
      // SAFETY: the index is below the number of uppers.
      if unsafe isDoomed(uppers[index]) { unsafe uppers[index].key = 0 }
    }
  }

  /// Forgets the places of guest-physical pages that came through a root; `nil` for any.
  mutating func forgetPhysicals(of root: UInt64?) {
    for index in 0..<Self.physicalCount {
      // SAFETY: the index is below the number of physicals.
      if unsafe root == nil || physicals[index].root == root { unsafe physicals[index].key = 0 }
    }
  }
}
