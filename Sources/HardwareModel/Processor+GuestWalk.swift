import HostMemory
import PagingUnits

/// A walk of the guest's tables under way.
struct Walk {
  let linear: UInt64
  let access: HardwareAccess
  let mode: GuestMode
  let root: UInt64
  let pcid: UInt16
  let dimension: SecondDimension
  /// Where the entry of each depth lies in the host, and what it said; index 0 is not used.
  var places = InlineArray<6, UInt64>(repeating: 0)
  var entries = InlineArray<6, UInt64>(repeating: 0)
}

/// What a walk comes to.
enum WalkResult {
  case found(KeptTranslation)
  case refused(HardwareOutcome)
}

/// The walk of the guest's tables (SDM Vol. 3A, "32-Bit Paging", "PAE Paging", "4-Level Paging and
/// 5-Level Paging").
extension Processor {
  /// Walks until nothing changes behind the walk's back.
  mutating func run(_ walk: inout Walk, _ registers: borrowing ControlRegisters) -> WalkResult {
    while true {
      if let result = attempt(&walk, registers) { return result }
    }
  }

  /// One walk from the top; `nil` when an entry changed between its reading and its marking.
  private mutating func attempt(
    _ walk: inout Walk, _ registers: borrowing ControlRegisters
  ) -> WalkResult? {
    let mode = walk.mode
    guard mode.levels > 0 else {
      var rights = GuestRights()
      rights.dirty = true
      return finish(walk, guestPage: walk.linear & ~0xFFF, .page4K, rights)
    }
    var depth = mode.levels
    var table = registers.cr3 & addressMask
    var rights = GuestRights()
    if mode.levels == 2 { table = registers.cr3 & 0xFFFF_F000 }
    if mode.levels == 3 {
      let pdpte = registers.pdptes[Int(walk.linear >> 30 & 3)]
      if pdpte & 1 == 0 { return fault(walk, present: 0) }
      table = pdpte & addressMask
      depth = 2
    }
    let top = depth
    var lowest = depth
    if features.keepsWalks && mode.levels >= 4,
      let (kept, upper) = walks.lowestTable(
        walk.linear, below: depth, root: walk.root, pcid: walk.pcid)
    {
      counters.walkHits &+= 1
      depth = kept
      lowest = kept
      table = upper.table
      rights = upper.rights
    }
    while true {
      let host: UInt64
      switch entryPlace(table, depth, walk) {
      case .exit(let exit): return .refused(.exit(exit))
      case .found(let found): host = found.host
      }
      let entry = readEntry(host, mode)
      walk.places[depth] = host
      walk.entries[depth] = entry
      if entry & 1 == 0 { return fault(walk, present: 0) }
      let isLeaf = Self.isLeaf(entry, depth, mode)
      if reservedBits(entry, depth, isLeaf, mode) { return fault(walk, present: 1 | 1 << 3) }
      rights.write = rights.write && entry & 2 != 0
      rights.user = rights.user && entry & 4 != 0
      if mode.noExecute { rights.execute = rights.execute && entry >> 63 == 0 }
      if isLeaf { break }
      table = mode.levels == 2 ? entry & 0xFFFF_F000 : entry & addressMask
      depth -= 1
      if depth < lowest { lowest = depth }
    }
    let leaf = walk.entries[depth]
    rights.key = UInt32(truncatingIfNeeded: leaf >> 59 & 15)
    rights.global = mode.globalPages && leaf & 1 << 8 != 0
    if let code = mode.refusal(walk.access, rights) {
      return .refused(.pageFault(errorCode: code))
    }
    guard mark(walk, from: top, to: depth) else { return nil }
    rights.dirty = leaf & 1 << 6 != 0 || walk.access.kind == .write
    remember(walk, from: top, to: depth)
    let (page, level) = Self.page(leaf, depth, walk.linear, mode, features)
    return finish(walk, guestPage: page, level, rights)
  }

  private var addressMask: UInt64 { 0x000F_FFFF_FFFF_F000 }

  private func fault(_ walk: Walk, present: UInt32) -> WalkResult {
    .refused(.pageFault(errorCode: present | walk.mode.errorCode(walk.access)))
  }

  /// The host's address of the entry, through the second dimension.
  private mutating func entryPlace(
    _ table: UInt64, _ depth: Int, _ walk: Walk
  ) -> SecondResult {
    counters.guestReferences &+= 1
    let address: UInt64
    if walk.mode.levels == 2 {
      address = table | (walk.linear >> (12 + 10 * UInt64(depth - 1)) & 1023) << 2
    } else {
      address = table | (walk.linear >> (12 + 9 * UInt64(depth - 1)) & 511) << 3
    }
    if case .none = walk.dimension {
      return .found(SecondFound(host: address, level: .page1G, rights: SecondRights()))
    }
    return second(address, .read, .table, linear: walk.linear, walk.dimension)
  }

  /// Reads an entry; what lies outside memory reads as all ones, as an open bus does.
  private func readEntry(_ host: UInt64, _ mode: GuestMode) -> UInt64 {
    let width: UInt64 = mode.levels == 2 ? 4 : 8
    guard memory.contains(HostPhysical(host), count: width) else {
      return mode.levels == 2 ? 0xFFFF_FFFF : .max
    }
    return mode.levels == 2
      ? UInt64(memory.entry32(at: HostPhysical(host))) : memory.entry(at: HostPhysical(host))
  }

  private static func isLeaf(_ entry: UInt64, _ depth: Int, _ mode: GuestMode) -> Bool {
    if depth == 1 { return true }
    guard entry & 1 << 7 != 0 else { return false }
    return mode.levels == 2 ? mode.pageSizeExtension : depth <= 3
  }

  /// Whether an entry has a bit set that must be clear.
  private func reservedBits(
    _ entry: UInt64, _ depth: Int, _ isLeaf: Bool, _ mode: GuestMode
  ) -> Bool {
    let width = features.guestPhysicalBits
    if mode.levels == 2 {
      guard depth == 2 && isLeaf else { return false }
      // Bits 20:13 hold address bits 39:32 as far as the processor has them; bit 21 is reserved.
      let extra = min(width, 40) - 32
      let used: UInt64 = (1 << extra - 1) << 13
      return entry & (0x003F_E000 & ~used) != 0
    }
    var reserved = (0x000F_FFFF_FFFF_FFFF as UInt64) & ~(1 << width - 1)
    if !mode.noExecute { reserved |= 1 << 63 }
    if mode.levels == 3 { reserved |= 0x7FF0_0000_0000_0000 }
    switch depth {
    case 4, 5:
      reserved |= 1 << 7
      if features.vendor == .amd { reserved |= 1 << 8 }
    case 3:
      if isLeaf { reserved |= features.hasGigabytePages ? 0x3FFF_E000 : 1 << 7 }
    case 2:
      if isLeaf { reserved |= 0x001F_E000 }
    default: break
    }
    return entry & reserved != 0
  }

  /// Sets accessed bits from the top down, and the dirty bit of the leaf for a write; `false` when
  /// an entry is no longer what was read.
  ///
  /// The manual lets a processor set upper accessed bits even for a walk that then faults; this one
  /// sets none unless the whole access is permitted.
  private mutating func mark(_ walk: Walk, from top: Int, to leaf: Int) -> Bool {
    var depth = top
    while depth >= leaf {
      let old = walk.entries[depth]
      let isRead = walk.places[depth] != 0
      var new = old | 1 << 5
      if depth == leaf && walk.access.kind == .write { new |= 1 << 6 }
      if isRead && new != old {
        let place = HostPhysical(walk.places[depth])
        guard memory.contains(place, count: walk.mode.levels == 2 ? 4 : 8) else { return true }
        counters.assists &+= 1
        if walk.mode.levels == 2 {
          let expected = UInt32(truncatingIfNeeded: old)
          guard
            memory.compareExchangeEntry32(
              expected: expected, desired: UInt32(truncatingIfNeeded: new), at: place) == expected
          else { return false }
        } else {
          guard memory.compareExchangeEntry(expected: old, desired: new, at: place) == old
          else { return false }
        }
      }
      depth -= 1
    }
    return true
  }

  /// Keeps the tables that the walk went through.
  private mutating func remember(_ walk: Walk, from top: Int, to leaf: Int) {
    guard features.keepsWalks && walk.mode.levels >= 4 else { return }
    var rights = GuestRights()
    var isWhole = true
    var depth = top
    while depth > leaf {
      // Below a kept table the entries above were not read; their rights are not known here.
      if walk.places[depth] == 0 { isWhole = false }
      if isWhole {
        let entry = walk.entries[depth]
        rights.write = rights.write && entry & 2 != 0
        rights.user = rights.user && entry & 4 != 0
        if walk.mode.noExecute { rights.execute = rights.execute && entry >> 63 == 0 }
        walks.keep(
          walk.linear, depth: depth - 1, root: walk.root, pcid: walk.pcid,
          table: entry & addressMask, rights)
      }
      depth -= 1
    }
  }

  /// The page that a leaf maps around the address.
  private static func page(
    _ leaf: UInt64, _ depth: Int, _ linear: UInt64, _ mode: GuestMode,
    _ features: ProcessorFeatures
  ) -> (UInt64, Level) {
    if mode.levels == 2 {
      guard depth == 2 else { return (leaf & 0xFFFF_F000, .page4K) }
      // A 4 MiB page: two 2 MiB halves, told apart by bit 21 of the address.
      let high = (leaf >> 13 & 0xFF) << 32
      return (high | leaf & 0xFFC0_0000 | linear & 0x0020_0000, .page2M)
    }
    let level = Level(depth)
    return (leaf & 0x000F_FFFF_FFFF_F000 & ~(level.byteCount - 1), level)
  }

  /// Takes the page through the second dimension.
  private mutating func finish(
    _ walk: Walk, guestPage: UInt64, _ guestLevel: Level, _ rights: GuestRights
  ) -> WalkResult {
    let address = guestPage | walk.linear & (guestLevel.byteCount - 1)
    let found: SecondFound
    switch second(address, walk.access.kind, .final, linear: walk.linear, walk.dimension) {
    case .exit(let exit): return .refused(.exit(exit))
    case .found(let one): found = one
    }
    let level = min(guestLevel, found.level)
    let inPage = level.byteCount - 1
    let isFourMegabytes = walk.mode.levels == 2 && guestLevel == .page2M
    return .found(
      KeptTranslation(
        page: (walk.linear & ~inPage) >> 12, root: walk.root, guestPage: address & ~inPage,
        hostPage: found.host & ~inPage, level: level,
        guestByteCount: isFourMegabytes ? 4 << 20 : guestLevel.byteCount, pcid: walk.pcid,
        digest: walk.mode.digest, rights: rights, second: found.rights))
  }
}
