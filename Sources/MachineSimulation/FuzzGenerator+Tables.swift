import PagingUnits

/// Stores of the guest's to its own tables, of every size, aligned or not.
extension FuzzGenerator {
  /// Queues a mapping of a page in which a table lies, so that the guest can store to it.
  mutating func mapTable() {
    let leaves = picture.tables.things.filter { $0.depth == 1 }
    guard let table = picture.tables.pick(&chance), !leaves.isEmpty else {
      _ = buildTables(chance.pick(swarm.shapes))
      return
    }
    let leaf = chance.pick(leaves)
    let index = chance.chance(1, in: 2) ? chance.below(UInt64(4)) : 500 + chance.below(UInt64(8))
    let linear = leaf.shape.canonical(leaf.linear | index << 12)
    let isNarrow = leaf.shape.isNarrow
    // Every right: it is for storing.
    let word = (table.place & ~0xFFF | 0x67) & (isNarrow ? 0xFFFF_FFFF : 0x000F_FFFF_FFFF_FFFF)
    writeEntry(word, at: index, in: leaf)
    picture.note(
      GuestPicture.Window(linear: linear, place: table.place & ~0xFFF))
    if chance.chance(1, in: 2) {
      let processor = processor()
      queue(.access(access(processor, .virtual(GuestVirtual(linear)))))
    }
  }

  /// Queues a store to a table: an entry, a part of one, or across two.
  mutating func storeToTable() {
    guard let (entry, processor) = changedEntry() else { return }
    queue(.access(store(to: entry, by: processor)))
    invalidateOrNot(entry, on: processor)
    for _ in 0..<(1 + chance.below(2)) { queue(.access(access(self.processor(), near(entry)))) }
  }

  /// A store to a table that is known; `nil` when none is.
  mutating func tableStore(by processor: Int) -> AccessStep? {
    guard var entry = picture.entries.pick(&chance) else { return nil }
    entry.value = changed(entry)
    return store(to: entry, by: processor)
  }

  /// A store that changes an entry, a part of one, or two.
  private mutating func store(
    to entry: GuestPicture.Entry, by processor: Int
  ) -> AccessStep {
    var place = entry.place
    var value = entry.value
    var byteCount = Int(entry.shape.entryBytes)
    switch chance.below(10) {
    case 0:
      // A part of the entry, aligned to its size.
      byteCount = [1, 2, 4][chance.below(3)]
      let offset = UInt64(chance.below(Int(entry.shape.entryBytes) / byteCount) * byteCount)
      place += offset
      value >>= 8 * offset
    case 1:
      // Across two entries.
      byteCount = chance.pick([2, 4, 8])
      place = place &- 1 &- chance.below(UInt64(byteCount - 1))
    case 2: byteCount = 8
    case 3 where entry.shape.entryBytes == 8: byteCount = 4
    default: break
    }
    if byteCount == Int(entry.shape.entryBytes) && place == entry.place { picture.note(entry) }
    return store(value, byteCount, at: place, by: processor)
  }

  /// A store to a guest-physical place, through a page that maps it if one is known.
  private mutating func store(
    _ value: UInt64, _ byteCount: Int, at place: UInt64, by processor: Int
  ) -> AccessStep {
    var step = AccessStep(.write, at: .physical(GuestPhysical(place & (1 << 52 - 1))))
    let windows = picture.windows.things.filter { $0.place == place & ~0xFFF }
    if !windows.isEmpty, chance.chance(7, in: 8) {
      let window = chance.pick(windows)
      step = AccessStep(.write, at: .virtual(GuestVirtual(window.linear &+ place & 0xFFF)))
    }
    step.processor = processor
    step.byteCount = byteCount
    step.value = value
    step.privilegeLevel = chance.chance(1, in: 2) ? 3 : 0
    step.isEmulated = chance.chance(1, in: 8)
    return step
  }
}
