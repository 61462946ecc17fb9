import PagingUnits

/// A translation that a processor keeps.
struct KeptTranslation {
  /// The linear address, aligned to the page, divided by 4096; `empty` for none.
  var page: UInt64 = KeptTranslation.empty
  /// The root of the second dimension it came through.
  var root: UInt64 = 0
  /// The page's first guest-physical byte.
  var guestPage: UInt64 = 0
  /// The page's first host-physical byte.
  var hostPage: UInt64 = 0
  var level = Level.page4K
  /// The size of the guest's own page, of which this may be a part: INVLPG forgets all its parts.
  var guestByteCount: UInt64 = 4096
  var pcid: UInt16 = 0
  var digest: UInt16 = 0
  var rights = GuestRights()
  var second = SecondRights()

  static let empty = UInt64.max
}

/// What the entries of the second dimension say together.
struct SecondRights {
  var read = true
  var write = true
  var execute = true
  /// Whether a write needs no dirty bit set in the second dimension any more.
  var dirty = true
}

/// The translations that a processor keeps: its TLB.
///
/// Sets of four ways; a page of any size is kept once, in the set of its own number. Which way of a
/// full set is given up goes round. Everything is tagged, so nothing is found in the wrong space.
@safe struct TranslationCache: ~Copyable {
  private let ways: UnsafeMutablePointer<KeptTranslation>
  private let victims: UnsafeMutablePointer<UInt8>
  private let sets: Int
  /// How many translations of each page size are kept; sizes that are not are not looked for.
  private var kept = InlineArray<4, Int>(repeating: 0)

  init(sets: Int) {
    precondition(sets >= 0 && sets & (sets - 1) == 0, "a TLB has a power of two of sets, or none")
    self.sets = sets
    unsafe ways = .allocate(capacity: max(sets * 4, 1))
    unsafe victims = .allocate(capacity: max(sets, 1))
    // SAFETY: both allocations are exactly this large, or larger.
    unsafe ways.initialize(repeating: KeptTranslation(), count: sets * 4)
    unsafe victims.initialize(repeating: 0, count: sets)
  }

  deinit {
    unsafe ways.deallocate()
    unsafe victims.deallocate()
  }

  /// How many translations there is room for.
  var capacity: Int { sets * 4 }

  /// The translation in a place, 0..<capacity.
  subscript(place: Int) -> KeptTranslation {
    precondition(0 <= place && place < sets * 4, "a TLB has places for its capacity")
    // SAFETY: the place was checked.
    return unsafe ways[place]
  }

  private func firstWay(_ page: UInt64, _ level: Level) -> Int {
    let number = page &>> (9 &* UInt64(level.depth &- 1))
    return Int(truncatingIfNeeded: (number ^ number >> 11) & UInt64(sets &- 1)) &* 4
  }

  /// The place of the translation of an address, if it is kept.
  func find(
    _ address: UInt64, root: UInt64, pcid: UInt16, digest: UInt16
  ) -> Int? {
    for depth in 1...3 where kept[depth] > 0 {
      let level = Level(depth)
      let page = (address & ~(level.byteCount &- 1)) >> 12
      let first = firstWay(page, level)
      for way in first..<first &+ 4 {
        // SAFETY: a set number times four plus three lies inside.
        let one = unsafe ways + way
        if unsafe one.pointee.page == page && one.pointee.level == level
          && one.pointee.root == root && one.pointee.digest == digest
          && (one.pointee.pcid == pcid || one.pointee.rights.global)
        {
          return way
        }
      }
    }
    return nil
  }

  /// Keeps a translation, in the place of the same page's old one or of some other.
  mutating func keep(_ translation: KeptTranslation) {
    guard sets > 0 else { return }
    let first = firstWay(translation.page, translation.level)
    var place = first + Int(unsafe victims[first / 4])
    for way in first..<first + 4 {
      // SAFETY: a set number times four plus three lies inside.
      let one = unsafe ways + way
      let isSame =
        unsafe one.pointee.page == translation.page
        && one.pointee.level == translation.level && one.pointee.root == translation.root
        && one.pointee.pcid == translation.pcid
      if unsafe isSame || one.pointee.page == KeptTranslation.empty {
        place = way
        break
      }
    }
    // SAFETY: the set number is below the number of sets.
    unsafe victims[first / 4] = (unsafe victims[first / 4] + 1) & 3
    forget(place)
    unsafe ways[place] = translation
    kept[Int(translation.level.depth)] += 1
  }

  /// Forgets the translation in a place.
  mutating func forget(_ place: Int) {
    precondition(0 <= place && place < sets * 4, "a TLB has places for its capacity")
    // SAFETY: the place was checked.
    guard unsafe ways[place].page != KeptTranslation.empty else { return }
    kept[Int(unsafe ways[place].level.depth)] -= 1
    unsafe ways[place].page = KeptTranslation.empty
  }

  /// Forgets every translation that `isDoomed` names.
  mutating func forget(where isDoomed: (KeptTranslation) -> Bool) {
    guard kept[1] + kept[2] + kept[3] > 0 else { return }
    for place in 0..<sets * 4 {
      // SAFETY: a place below the capacity.
      let one = unsafe ways[place]
      if one.page != KeptTranslation.empty && isDoomed(one) { forget(place) }
    }
  }
}
