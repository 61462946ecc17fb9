import PagingUnits

/// Tables of a guest as guests have them, written word by word.
///
/// A template leads from a root to a leaf table on one path through few indices, so that different
/// templates meet; then come the oddities: a second path to a table (two addresses for one frame),
/// a table that maps itself, one frame as the tables of two levels, tables where no memory is.
extension FuzzGenerator {
  /// Queues the writes of a whole set of tables; the root.
  mutating func buildTables(_ shape: PagingShape) -> GuestPicture.Table {
    guard shape != .none else {
      // Without paging there are none, but linear addresses worth going to.
      for _ in 0..<3 { picture.noteMapping(at: pagePlace() & 0xFFFF_F000) }
      return GuestPicture.Table(place: 0, depth: 0, shape: .none, linear: 0)
    }
    let root = GuestPicture.Table(
      place: tablePlace(shape, shape.depth), depth: shape.depth, shape: shape, linear: 0)
    picture.note(root)
    var table = root
    while true {
      let maker = self.maker
      if table.depth == 1 || maker.isLarge(shape, table.depth, &chance) {
        mapPages(in: table, count: 1 + chance.below(chance.chance(1, in: 4) ? 48 : 6))
        break
      }
      table = linkTable(under: table)
    }
    // PAE paging reads all four at once: what is not written must not be garbage.
    if shape == .extended && chance.chance(3, in: 4) { finishPointers(of: root) }
    if chance.chance(1, in: 4) { addOddity(in: root) }
    return root
  }

  /// Queues an entry that leads to a table below; the table.
  private mutating func linkTable(under table: GuestPicture.Table) -> GuestPicture.Table {
    let shape = table.shape
    let index = index(in: table)
    let depth = table.depth - 1
    let below = GuestPicture.Table(
      place: tablePlace(shape, depth), depth: depth, shape: shape,
      linear: table.linear | index << shape.shift(table.depth))
    let word = maker.table(at: below.place, shape, table.depth, &chance)
    writeEntry(word, at: index, in: table)
    picture.note(below)
    return below
  }

  /// Queues entries that map pages, one after another.
  mutating func mapPages(in table: GuestPicture.Table, count: Int) {
    let shape = table.shape
    let first = index(in: table)
    let limit = shape.entryCount(table.depth)
    let count = min(UInt64(count), limit - first)
    // Identity, one after another, or scattered.
    let order = chance.below(3)
    let base = order == 0 ? table.linear &+ first << shape.shift(table.depth) : pagePlace()
    var words: [UInt64] = []
    for number in 0..<count {
      let place: UInt64
      switch order {
      case 0, 1: place = base &+ number << shape.shift(table.depth)
      default: place = pagePlace()
      }
      let word = maker.page(at: place, shape, table.depth, &chance)
      words.append(maker.perhapsSpoiled(word, shape, &chance))
      let linear = table.linear | (first + number) << shape.shift(table.depth)
      picture.noteMapping(at: shape.canonical(linear))
      if tableFrames.contains(place & ~0xFFF) {
        picture.note(
          GuestPicture.Window(linear: shape.canonical(linear), place: place & ~0xFFF))
      }
    }
    let place = table.place + first * shape.entryBytes
    queue(.write(GuestPhysical(place), bytes(words, shape)))
    for number in [0, count - 1] {
      picture.note(
        GuestPicture.Entry(
          place: place + number * shape.entryBytes, value: words[Int(number)],
          depth: table.depth, shape: shape,
          linear: shape.canonical(
            table.linear | (first + number) << shape.shift(table.depth))))
    }
  }

  /// Queues more of what a table has.
  mutating func extendTable(_ table: GuestPicture.Table) {
    if table.depth == 1 || maker.isLarge(table.shape, table.depth, &chance) {
      mapPages(in: table, count: 1 + chance.below(8))
    } else if chance.chance(1, in: 3) {
      addOddity(in: table)
    } else {
      let below = linkTable(under: table)
      if below.depth == 1 || chance.chance(1, in: 2) { extendTable(below) }
    }
  }

  /// Queues an entry that guests rarely have.
  private mutating func addOddity(in table: GuestPicture.Table) {
    let index = index(in: table)
    let target: UInt64
    switch chance.below(6) {
    // A table that maps itself.
    case 0: target = table.place
    // Another path to a table that is there; perhaps as one of another level.
    case 1, 2, 3: target = picture.tables.pick(&chance)?.place ?? table.place
    // A table where the guest has a page of its own, or nothing.
    case 4: target = pagePlace()
    default: target = physical() & ~0xFFF
    }
    let word = maker.table(at: target, table.shape, table.depth, &chance)
    writeEntry(word, at: index, in: table)
    guard table.depth > 1 else { return }
    picture.note(
      GuestPicture.Table(
        place: target, depth: table.depth - 1, shape: table.shape,
        linear: table.linear | index << table.shape.shift(table.depth)))
    picture.noteMapping(
      at: table.shape.canonical(table.linear | index << table.shape.shift(table.depth)))
  }

  /// Queues zeros for the entries of a PDPT of PAE paging that are not in use.
  private mutating func finishPointers(of root: GuestPicture.Table) {
    let used = picture.entries.things.filter { $0.depth == 3 && $0.place & ~31 == root.place }
    for index in 0..<UInt64(4) {
      let place = root.place + 8 * index
      if used.contains(where: { $0.place == place }) { continue }
      queue(.write(GuestPhysical(place), GuestBytes(words: [0])))
    }
  }

  /// Queues one entry.
  mutating func writeEntry(_ word: UInt64, at index: UInt64, in table: GuestPicture.Table) {
    let place = table.place + index * table.shape.entryBytes
    let linear = table.shape.canonical(table.linear | index << table.shape.shift(table.depth))
    writeEntry(
      GuestPicture.Entry(
        place: place, value: word, depth: table.depth, shape: table.shape, linear: linear))
  }

  /// Queues one entry.
  mutating func writeEntry(_ entry: GuestPicture.Entry) {
    picture.note(entry)
    queue(.write(GuestPhysical(entry.place), bytes([entry.value], entry.shape)))
  }

  func bytes(_ words: [UInt64], _ shape: PagingShape) -> GuestBytes {
    guard shape.isNarrow else { return GuestBytes(words: words) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(4 * words.count)
    for word in words {
      for shift in stride(from: UInt64(0), to: 32, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> shift))
      }
    }
    return GuestBytes(bytes, .words32(count: words.count))
  }

  // MARK: Places

  /// An index of a table: few in the middle, the ends, seldom any.
  private mutating func index(in table: GuestPicture.Table) -> UInt64 {
    let count = table.shape.entryCount(table.depth)
    switch chance.below(8) {
    case 0, 1, 2: return 0
    case 3, 4: return chance.below(min(count, 3))
    case 5: return count - 1
    case 6: return count / 2
    default: return chance.below(count)
    }
  }

  /// Where a table goes: seldom where nothing is, or where only reads go.
  private mutating func tablePlace(_ shape: PagingShape, _ depth: Int) -> UInt64 {
    var place: UInt64
    if chance.chance(1, in: 24) {
      place = physical() & ~0xFFF
    } else if swarm.isCrowded, chance.chance(1, in: 4), let table = picture.tables.pick(&chance) {
      place = table.place & ~0xFFF
    } else {
      place = tableFrames.isEmpty ? pagePlace() : chance.pick(tableFrames)
    }
    // The root of these lies below 4 GiB, of PAE paging anywhere in a page.
    if shape.isNarrow || (shape == .extended && depth == 3) { place &= 0xFFFF_F000 }
    if shape == .extended && depth == 3 && chance.chance(1, in: 4) {
      place |= chance.below(UInt64(128)) << 5
    }
    return place
  }
}
