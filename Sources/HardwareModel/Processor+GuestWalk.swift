import HostMemory
import PagingUnits

/// What a walk of the guest's tables is for.
struct Walk {
  let linear: UInt64
  let access: HardwareAccess
  let mode: GuestMode
  let root: UInt64
  let pcid: UInt16
  let dimension: SecondDimension
}

/// What an attempt at a walk comes to.
enum WalkStep {
  /// A translation that permits the access.
  case found
  /// A fault or an exit, which stands in `Processor.refusal`.
  case refused
  /// An entry changed between its reading and its marking: once more.
  case changed
}

/// Bits of every format.
enum EntryBits {
  static let address: UInt64 = 0x000F_FFFF_FFFF_F000
  static let physical: UInt64 = 0x000F_FFFF_FFFF_FFFF
}

/// The walk of the guest's tables (SDM volume 3A, "32-Bit Paging", "PAE Paging", "4-Level Paging and
/// 5-Level Paging").
extension Processor {
  /// One walk from the top, or from the lowest table that is kept.
  mutating func attempt(
    _ walk: borrowing Walk, _ registers: borrowing ControlRegisters,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    let mode = walk.mode
    if mode.levels < 4 { return attemptShort(walk, registers, &result) }
    var depth = mode.levels
    var table = registers.cr3 & EntryBits.address
    // Bits that all entries have, and bits that any has.
    var all: UInt64 = 0x27
    var any: UInt64 = 0
    if features.keepsWalks,
      let kept = walks.lowestTable(walk.linear, below: depth, root: walk.root, pcid: walk.pcid)
    {
      counters.walkHits &+= 1
      depth = kept.depth
      table = kept.upper.table
      if !kept.upper.rights.write { all &= ~2 }
      if !kept.upper.rights.user { all &= ~4 }
      if !kept.upper.rights.execute { any |= 1 << 63 }
    }
    let top = depth
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    var reserved = EntryBits.physical & ~(1 &<< features.guestPhysicalBits &- 1)
    if !mode.noExecute { reserved |= 1 << 63 }
    var entry: UInt64
    while true {
      let place = table | (walk.linear &>> (9 &* UInt64(truncatingIfNeeded: depth))) & 0xFF8
      guard let host = hostPlace(of: place, walk) else { return .refused }
      entry = memory.entryOrOnes(at: HostPhysical(host))
      places[depth] = host
      entries[depth] = entry
      if entry & 1 == 0 { return refuse(walk, present: 0) }
      let isLeaf = depth == 1 || (depth <= 3 && entry & 1 << 7 != 0)
      if entry & (reserved | shape(depth, isLeaf)) != 0 {
        return refuse(walk, present: 1 | 1 << 3)
      }
      all &= entry
      any |= entry
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    var rights = GuestRights(
      write: all & 2 != 0, user: all & 4 != 0, execute: any >> 63 == 0,
      key: UInt32(truncatingIfNeeded: entry >> 59 & 15),
      dirty: entry & 1 << 6 != 0, global: mode.globalPages && entry & 1 << 8 != 0)
    guard mode.usable(walk.access, rights).contains(walk.access.need) else {
      refusal = .pageFault(errorCode: mode.refusal(walk.access, rights))
      return .refused
    }
    let writes = walk.access.kind == .write
    if all & 1 << 5 == 0 || (writes && !rights.dirty) {
      guard mark(entries, places, from: top, to: depth, writes: writes, width: 8) else {
        return .changed
      }
      rights.dirty = rights.dirty || writes
    }
    if features.keepsWalks && top == mode.levels {
      remember(walk, entries, from: top, to: depth)
    }
    let level = Level(depth)
    let page = entry & EntryBits.address & ~(level.byteCount &- 1)
    return finish(walk, guestPage: page, level, rights, &result)
  }

  /// Walks with paging off, in 32-bit and in PAE mode.
  private mutating func attemptShort(
    _ walk: borrowing Walk, _ registers: borrowing ControlRegisters,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    let mode = walk.mode
    guard mode.levels > 0 else {
      let rights = GuestRights(dirty: true)
      return finish(walk, guestPage: walk.linear & ~0xFFF, .page4K, rights, &result)
    }
    let isPAE = mode.levels == 3
    let addresses: UInt64 = isPAE ? EntryBits.address : 0xFFFF_F000
    var table = registers.cr3 & 0xFFFF_F000
    if isPAE {
      let pdpte = registers.pdptes[Int(walk.linear >> 30 & 3)]
      if pdpte & 1 == 0 { return refuse(walk, present: 0) }
      table = pdpte & addresses
    }
    var rights = GuestRights()
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    var depth = 2
    while true {
      let shift = isPAE ? 9 * UInt64(depth) : 10 * UInt64(depth)
      let place =
        table | (isPAE ? walk.linear >> shift & 511 << 3 : walk.linear >> shift & 1023 << 2)
      guard let host = hostPlace(of: place, walk) else { return .refused }
      let entry =
        isPAE
        ? memory.entryOrOnes(at: HostPhysical(host))
        : UInt64(memory.entry32OrOnes(at: HostPhysical(host)))
      places[depth] = host
      entries[depth] = entry
      if entry & 1 == 0 { return refuse(walk, present: 0) }
      let isLarge = entry & 1 << 7 != 0 && (isPAE || mode.pageSizeExtension)
      let isLeaf = depth == 1 || isLarge
      if entry & (isPAE ? reservedPAE(depth, isLeaf, mode) : reserved32(depth, isLeaf)) != 0 {
        return refuse(walk, present: 1 | 1 << 3)
      }
      rights.write = rights.write && entry & 2 != 0
      rights.user = rights.user && entry & 4 != 0
      if isPAE && mode.noExecute { rights.execute = rights.execute && entry >> 63 == 0 }
      if isLeaf { break }
      table = entry & addresses
      depth -= 1
    }
    let leaf = entries[depth]
    rights.global = mode.globalPages && leaf & 1 << 8 != 0
    guard mode.usable(walk.access, rights).contains(walk.access.need) else {
      refusal = .pageFault(errorCode: mode.refusal(walk.access, rights))
      return .refused
    }
    let writes = walk.access.kind == .write
    guard mark(entries, places, from: 2, to: depth, writes: writes, width: isPAE ? 8 : 4) else {
      return .changed
    }
    rights.dirty = leaf & 1 << 6 != 0 || writes
    if depth == 1 { return finish(walk, guestPage: leaf & addresses, .page4K, rights, &result) }
    if isPAE {
      return finish(walk, guestPage: leaf & addresses & ~0x1F_FFFF, .page2M, rights, &result)
    }
    // A 4 MiB page is kept as its 2 MiB halves, told apart by bit 21 of the address.
    let high = (leaf >> 13 & 0xFF) << 32
    return finish(
      walk, guestPage: high | leaf & 0xFFC0_0000 | walk.linear & 0x20_0000, .page2M, rights, &result
    )
  }

  private mutating func refuse(_ walk: borrowing Walk, present: UInt32) -> WalkStep {
    refusal = .pageFault(errorCode: present | walk.mode.errorCode(walk.access))
    return .refused
  }

  /// The host's address of an entry of the guest's tables; `nil` for an exit.
  @inline(__always)
  private mutating func hostPlace(of place: UInt64, _ walk: borrowing Walk) -> UInt64? {
    counters.guestReferences &+= 1
    if case .none = walk.dimension { return place }
    var found = SecondFound()
    guard second(place, .read, .table, linear: walk.linear, walk.dimension, &found) else {
      return nil
    }
    return found.host
  }

  /// The bits that an entry's place and kind make reserved, in 4- and 5-level paging.
  @inline(__always) private func shape(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    if depth >= 4 { return features.vendor == .amd ? 1 << 7 | 1 << 8 : 1 << 7 }
    guard isLeaf && depth > 1 else { return 0 }
    if depth == 2 { return 0x001F_E000 }
    return features.hasGigabytePages ? 0x3FFF_E000 : 1 << 7
  }

  private func reservedPAE(_ depth: Int, _ isLeaf: Bool, _ mode: GuestMode) -> UInt64 {
    var reserved = EntryBits.physical & ~(1 << features.guestPhysicalBits - 1)
    reserved |= 0x7FF0_0000_0000_0000
    if !mode.noExecute { reserved |= 1 << 63 }
    return depth == 2 && isLeaf ? reserved | 0x001F_E000 : reserved
  }

  private func reserved32(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    guard depth == 2 && isLeaf else { return 0 }
    // Bits 20:13 hold address bits 39:32 as far as the processor has them; bit 21 is reserved.
    let extra = min(features.guestPhysicalBits, 40) - 32
    let used: UInt64 = (1 << extra - 1) << 13
    return 0x003F_E000 & ~used
  }

  /// Sets accessed bits from the top down, and the dirty bit of the leaf for a write; `false` when
  /// an entry is no longer what was read.
  ///
  /// The manual lets a processor set upper accessed bits even for a walk that then faults; this one
  /// sets none unless the whole access is permitted.
  private mutating func mark(
    _ entries: InlineArray<6, UInt64>, _ places: InlineArray<6, UInt64>, from top: Int,
    to leaf: Int, writes: Bool, width: UInt64
  ) -> Bool {
    var depth = top
    while depth >= leaf {
      let old = entries[depth]
      let new = old | (writes && depth == leaf ? 1 << 5 | 1 << 6 : 1 << 5)
      let place = HostPhysical(places[depth])
      if new != old && memory.contains(place, count: width) {
        counters.assists &+= 1
        if width == 4 {
          let expected = UInt32(truncatingIfNeeded: old)
          let found = memory.compareExchangeEntry32(
            expected: expected, desired: UInt32(truncatingIfNeeded: new), at: place)
          if found != expected { return false }
        } else if memory.compareExchangeEntry(expected: old, desired: new, at: place) != old {
          return false
        }
      }
      depth -= 1
    }
    return true
  }

  /// Keeps the tables that a walk from the top went through.
  private mutating func remember(
    _ walk: borrowing Walk, _ entries: InlineArray<6, UInt64>, from top: Int, to leaf: Int
  ) {
    var rights = GuestRights()
    var depth = top
    while depth > leaf {
      let entry = entries[depth]
      rights.write = rights.write && entry & 2 != 0
      rights.user = rights.user && entry & 4 != 0
      rights.execute = rights.execute && entry >> 63 == 0
      walks.keep(
        walk.linear, depth: depth - 1, root: walk.root, pcid: walk.pcid,
        table: entry & EntryBits.address, rights)
      depth -= 1
    }
  }

  /// Takes the page through the second dimension.
  @inline(__always)
  private mutating func finish(
    _ walk: borrowing Walk, guestPage: UInt64, _ guestLevel: Level, _ rights: GuestRights,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    let address = guestPage | walk.linear & (guestLevel.byteCount &- 1)
    var found = SecondFound()
    if case .none = walk.dimension {
      found.host = address
    } else {
      guard
        second(address, walk.access.kind, .final, linear: walk.linear, walk.dimension, &found)
      else { return .refused }
    }
    let level = min(guestLevel, found.level)
    let inPage = level.byteCount &- 1
    let isFourMegabytes = walk.mode.levels == 2 && guestLevel == .page2M
    result = KeptTranslation(
      page: (walk.linear & ~inPage) >> 12, root: walk.root, guestPage: address & ~inPage,
      hostPage: found.host & ~inPage, level: level,
      guestByteCount: isFourMegabytes ? 4 << 20 : guestLevel.byteCount, pcid: walk.pcid,
      digest: walk.mode.digest, rights: rights, second: found.rights)
    return .found
  }
}
