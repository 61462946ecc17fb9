/// Makes entries of a guest's tables, right ones and spoiled ones.
struct GuestEntryMaker: Sendable {
  private let swarm: FuzzSwarm
  private let gigabytes: Bool

  /// Makes entries as a run has them.
  init(_ swarm: FuzzSwarm) {
    self.swarm = swarm
    gigabytes = swarm.machine.features.contains(.gigabytePages)
  }

  /// Whether a mapping of this depth is one of a large page this time.
  func isLarge(
    _ shape: PagingShape, _ depth: Int, _ chance: inout SeededGenerator
  ) -> Bool {
    depth > 1 && shape.hasPages(depth, gigabytes: gigabytes)
      && chance.chance(swarm.largePart, in: 16)
  }

  /// An entry that points to a table.
  func table(
    at place: UInt64, _ shape: PagingShape, _ depth: Int, _ chance: inout SeededGenerator
  ) -> UInt64 {
    let bits = chance.next()
    var entry = place & 0x000F_FFFF_FFFF_F000 | 1
    // The entries of a PDPT of PAE paging have no rights.
    if shape == .extended && depth == 3 { return entry }
    entry |= rights(bits)
    if bits & 0xF_0000 == 0 { entry |= bits & 0x18 }
    if bits & 0xF0_0000 == 0 { entry |= bits & 0xE00 }
    if swarm.hasNoExecute && !shape.isNarrow && bits >> 56 & 15 == 0 { entry |= 1 << 63 }
    return shape.isNarrow ? entry & 0xFFFF_FFFF : entry
  }

  /// An entry that maps a page.
  func page(
    at place: UInt64, _ shape: PagingShape, _ depth: Int, _ chance: inout SeededGenerator
  ) -> UInt64 {
    let bits = chance.next()
    let inPage: UInt64 = 1 << shape.shift(depth) - 1
    var entry = place & 0x000F_FFFF_FFFF_F000 & ~inPage | 1 | rights(bits)
    if depth > 1 { entry |= 0x80 }
    if bits >> 12 & 1 == 1 { entry |= 0x40 }
    if bits & 0xF_0000 == 0 { entry |= bits & 0x18 }
    if bits & 0xF0_0000 == 0 { entry |= bits & 0xE00 }
    if swarm.hasGlobal && bits >> 24 & 3 == 0 { entry |= 0x100 }
    if !shape.isNarrow {
      if swarm.hasNoExecute && bits >> 56 & 7 == 0 { entry |= 1 << 63 }
      if swarm.hasKeys && shape.isLong { entry |= (bits >> 32 & 15) << 59 }
    }
    return shape.isNarrow ? entry & 0xFFFF_FFFF : entry
  }

  private func rights(_ bits: UInt64) -> UInt64 {
    // Mostly all rights: what every level refuses teaches nothing.
    (bits & 7 == 0 ? 0 : 2) | (bits >> 3 & 7 == 0 ? 0 : 4) | (bits >> 6 & 1) << 5
  }

  /// An entry, spoiled as rarely as the run says.
  func perhapsSpoiled(
    _ entry: UInt64, _ shape: PagingShape, _ chance: inout SeededGenerator
  ) -> UInt64 {
    chance.chance(swarm.corruptionPart, in: 16 * 8) ? spoiled(entry, shape, &chance) : entry
  }

  /// An entry with something wrong.
  func spoiled(
    _ entry: UInt64, _ shape: PagingShape, _ chance: inout SeededGenerator
  ) -> UInt64 {
    let width: UInt64 = shape.isNarrow ? 32 : 64
    let spoiled: UInt64
    switch chance.below(8) {
    case 0: spoiled = entry ^ 1 << chance.below(width)
    case 1: spoiled = entry ^ 1 << chance.below(width) ^ 1 << chance.below(width)
    case 2: spoiled = entry & ~1
    case 3: spoiled = entry ^ 0x80
    // Just above MAXPHYADDR, where bits are reserved.
    case 4: spoiled = entry | 1 << UInt64(swarm.machine.guestPhysicalBits)
    // Low bits of a large page's frame, which are reserved.
    case 5: spoiled = entry | 0x80 | 1 << (13 + chance.below(17))
    case 6: spoiled = entry & 0xFFF | chance.next() & 0x000F_FFFF_FFFF_F000
    default: spoiled = entry ^ (chance.next() & 0x67)
    }
    return shape.isNarrow ? spoiled & 0xFFFF_FFFF : spoiled
  }
}
