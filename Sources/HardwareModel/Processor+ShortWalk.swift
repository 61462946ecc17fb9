import HostMemory
import PagingUnits

/// The walk outside 64-bit modes (SDM volume 3A, "32-Bit Paging", "PAE Paging").
extension Processor {
  /// Walks with paging off, in 32-bit and in PAE mode; upper entries are not kept.
  mutating func attemptShort(
    _ walk: Walk, _ registers: borrowing ControlRegisters,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    switch mode.levels {
    case 0:
      return finish(walk, guestPage: walk.linear & ~0xFFF, .page4K, .all, key: 0, &result)
    case 2: return attempt32(walk, root: registers.cr3 & 0xFFFF_F000, &result)
    default: return attemptPAE(walk, registers, &result)
    }
  }

  /// The address of a 4-byte entry.
  static func shortPlace(in table: UInt64, _ depth: Int, _ address: UInt64) -> UInt64 {
    table | (address &>> (10 &* UInt64(truncatingIfNeeded: depth))) & 0xFFC
  }

  private mutating func attempt32(
    _ walk: Walk, root: UInt64, _ result: inout KeptTranslation
  ) -> WalkStep {
    var table = root
    var gathered = GatheredBits()
    var trail = WalkTrail()
    var depth = 2
    var entry: UInt64
    while true {
      guard let host = hostPlace(of: Self.shortPlace(in: table, depth, walk.linear), walk) else {
        return .refused
      }
      entry = UInt64(memory.entry32OrOnes(at: HostPhysical(host)))
      trail.places[depth] = host
      trail.entries[depth] = entry
      if entry & EntryBits.present == 0 { return refuse(walk, present: 0) }
      // Bit 7 is ignored, not reserved, without CR4.PSE; in a level-1 entry it is the PAT bit.
      let isLarge = depth == 2 && entry & EntryBits.pageSize != 0 && mode.pageSizeExtension
      if isLarge && entry & largeReserved != 0 { return refuse(walk, present: 1 | 1 << 3) }
      gathered.gather(entry)
      if depth == 1 || isLarge { break }
      table = entry & 0xFFFF_F000
      depth = 1
    }
    guard let rights = rights(gathered, entry, key: 0, walk) else { return .refused }
    let step: WalkStep
    if depth == 1 {
      step = finish(walk, guestPage: entry & 0xFFFF_F000, .page4K, rights, key: 0, &result)
    } else {
      // A 4 MiB page is kept as its 2 MiB halves, told apart by bit 21 of the address.
      let page = (entry >> 13 & 0xFF) << 32 | entry & 0xFFC0_0000 | walk.linear & 0x20_0000
      step = finish(walk, guestPage: page, .page2M, rights, key: 0, &result)
    }
    return step == .found ? mark(walk, trail, from: 2, root, to: depth) : step
  }

  /// The reserved bits of an entry that maps 4 MiB: bits 20:13 hold address bits 39:32 as far as
  /// the processor has them.
  private var largeReserved: UInt64 {
    let bits = features.largePageBits ?? min(features.guestPhysicalBits, 40)
    let used: UInt64 = (1 &<< (bits &- 32) &- 1) &<< 13
    return 0x003F_E000 & ~used
  }

  private mutating func attemptPAE(
    _ walk: Walk, _ registers: borrowing ControlRegisters,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    let index = walk.linear >> 30
    var reserved = reservedAddress(walk) | 0x7FF0_0000_0000_0000
    var pdpte: UInt64
    if case .npt = walk.dimension {
      // Under nested paging there are no PDPTE registers: the table in memory is read on each walk
      // (APM volume 2, "Nested Paging", on legacy PAE mode).
      let place = (registers.cr3 & 0xFFFF_FFE0) + index * 8
      guard let host = hostPlace(of: place, walk) else { return .refused }
      pdpte = memory.entryOrOnes(at: HostPhysical(host))
      let isReserved = pdpte & (reserved | EntryBits.noExecute | 0x1E6) != 0
      if pdpte & EntryBits.present != 0 && isReserved { return refuse(walk, present: 1 | 1 << 3) }
    } else {
      // Reserved bits were looked at when the registers were loaded.
      pdpte = registers.pdptes[Int(truncatingIfNeeded: index)]
    }
    if pdpte & EntryBits.present == 0 { return refuse(walk, present: 0) }
    if !mode.noExecute { reserved |= EntryBits.noExecute }
    let root = pdpte & EntryBits.address
    var table = root
    var gathered = GatheredBits()
    var trail = WalkTrail()
    var depth = 2
    var entry: UInt64
    while true {
      guard let host = hostPlace(of: Self.place(in: table, depth, walk.linear), walk) else {
        return .refused
      }
      entry = memory.entryOrOnes(at: HostPhysical(host))
      trail.places[depth] = host
      trail.entries[depth] = entry
      if entry & EntryBits.present == 0 { return refuse(walk, present: 0) }
      let isLarge = depth == 2 && entry & EntryBits.pageSize != 0
      if entry & (isLarge ? reserved | 0x001F_E000 : reserved) != 0 {
        return refuse(walk, present: 1 | 1 << 3)
      }
      gathered.gather(entry)
      if depth == 1 || isLarge { break }
      table = entry & EntryBits.address
      depth = 1
    }
    guard let rights = rights(gathered, entry, key: 0, walk) else { return .refused }
    let level = Level(depth)
    let page = entry & EntryBits.address & ~(level.byteCount - 1)
    let step = finish(walk, guestPage: page, level, rights, key: 0, &result)
    return step == .found ? mark(walk, trail, from: 2, root, to: depth) : step
  }
}
