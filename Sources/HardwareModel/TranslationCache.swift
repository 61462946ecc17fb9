import PagingUnits

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
    // SAFETY: a fresh allocation, freed in `deinit`.
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

  @inline(__always) private func firstWay(_ address: UInt64, _ level: Level) -> Int {
    let number = address &>> (3 &+ 9 &* UInt64(level.depth))
    return Int(truncatingIfNeeded: (number ^ number &>> 11) & UInt64(sets &- 1)) &* 4
  }

  /// The place of the translation of an address, if it is kept.
  @inline(__always) func find(_ address: UInt64, _ tag: TranslationTag) -> Int? {
    if kept[1] > 0, let place = find(address, .page4K, tag) { return place }
    if kept[2] > 0, let place = find(address, .page2M, tag) { return place }
    if kept[3] > 0, let place = find(address, .page1G, tag) { return place }
    return nil
  }

  @inline(__always)
  private func find(_ address: UInt64, _ level: Level, _ tag: TranslationTag) -> Int? {
    let key = KeptTranslation.key(address, level)
    let first = firstWay(address, level)
    for way in first..<first &+ 4 {
      // SAFETY: a set number times four plus three lies inside.
      if unsafe ways[way].key == key && ways[way].serves(tag) { return way }
    }
    return nil
  }

  /// Keeps a translation, in the place of the same page's old one or of some other.
  mutating func keep(_ translation: KeptTranslation) {
    guard sets > 0 else { return }
    let first = firstWay(translation.key, translation.level)
    var place = first + Int(unsafe victims[first / 4])
    for way in first..<first + 4 {
      // SAFETY: a set number times four plus three lies inside.
      let old = unsafe ways[way]
      if old.key == KeptTranslation.empty { place = way }
      if old.key == translation.key && old.root == translation.root
        && old.space == translation.space
      {
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
    guard unsafe ways[place].key != KeptTranslation.empty else { return }
    kept[Int(unsafe ways[place].level.depth)] -= 1
    unsafe ways[place].key = KeptTranslation.empty
  }

  /// Forgets every translation that `isDoomed` names.
  mutating func forget(where isDoomed: (KeptTranslation) -> Bool) {
    guard kept[1] + kept[2] + kept[3] > 0 else { return }
    for place in 0..<sets * 4 {
      // SAFETY: a place below the capacity.
      let one = unsafe ways[place]
      if one.key != KeptTranslation.empty && isDoomed(one) { forget(place) }
    }
  }
}
