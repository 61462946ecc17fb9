import HostMemory
import PagingUnits

/// Where a guest-physical address lies.
struct SecondFound {
  var host: UInt64 = 0
  var level = Level.page1G
  var rights = SecondRights()
}

/// What a guest-physical address is used for.
enum SecondPurpose { case final, table }

/// The walk of the second dimension (SDM volume 3C, "The Extended Page Table Mechanism (EPT)"; APM
/// volume 2, "Nested Paging").
extension Processor {
  /// Translates a guest-physical address; `false` for an exit, which stands in `refusal`.
  mutating func second(
    _ address: UInt64, _ kind: AccessKind, _ purpose: SecondPurpose, linear: UInt64?,
    _ dimension: SecondDimension, _ found: inout SecondFound
  ) -> Bool {
    let writes: Bool
    switch dimension {
    case .none:
      found.host = address
      return true
    case .ept(let eptp): writes = kind == .write || (purpose == .table && eptp & 1 << 6 != 0)
    // The walk of the guest's tables may set accessed bits, so it is a write (APM: "Nested
    // Paging", page-table walks are user writes).
    case .npt: writes = kind == .write || purpose == .table
    }
    if features.keepsWalks, let known = walks.physical(address, root: dimension.tag) {
      let rights = known.rights
      let permits =
        (kind == .fetch ? rights.execute : rights.read)
        && (!writes || (rights.write && rights.dirty))
      if permits {
        counters.walkHits &+= 1
        found = SecondFound(
          host: known.hostPage | address & 0xFFF, level: level(bytes: known.pageBytes),
          rights: rights)
        return true
      }
    }
    let access = SecondAccess(
      address: address, kind: kind, writes: writes, purpose: purpose, linear: linear)
    var step = WalkStep.changed
    while step == .changed {
      switch dimension {
      case .ept(let eptp): step = walkEPT(access, eptp, &found)
      case .npt(let ncr3, let levels): step = walkNPT(access, ncr3, Int(levels.rawValue), &found)
      case .none: preconditionFailure("no second dimension has nothing to walk")
      }
    }
    guard step == .found else { return false }
    if features.keepsWalks {
      walks.keep(
        physical: address, root: dimension.tag,
        WalkCache.Physical(
          hostPage: found.host & ~0xFFF, pageBytes: found.level.byteCount, rights: found.rights))
    }
    return true
  }

  private mutating func exit(_ exit: HardwareExit) -> WalkStep {
    refusal = .exit(exit)
    return .refused
  }

  private func level(bytes: UInt64) -> Level {
    bytes == Level.page4K.byteCount ? .page4K : bytes == Level.page2M.byteCount ? .page2M : .page1G
  }

  /// Sets bits of an entry; `false` when it is no longer what was read.
  private mutating func set(_ bits: UInt64, in entry: UInt64, at place: UInt64) -> Bool {
    guard entry & bits != bits else { return true }
    let address = HostPhysical(place)
    guard memory.contains(address, count: 8) else { return true }
    counters.assists &+= 1
    return memory.compareExchangeEntry(expected: entry, desired: entry | bits, at: address) == entry
  }

  // MARK: EPT

  private mutating func walkEPT(
    _ access: SecondAccess, _ eptp: UInt64, _ found: inout SecondFound
  ) -> WalkStep {
    let levels = Int(truncatingIfNeeded: eptp >> 3 & 7) &+ 1
    let address = access.address
    var table = eptp & EntryBits.address
    var all: UInt64 = 1 << 8 | 0b111
    // Four levels translate 48 bits; an address beyond them has no translation.
    if levels < 5 && address >> 48 != 0 { return exit(access.violation(0)) }
    var depth = levels
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    let physical = EntryBits.physical & ~(1 &<< features.physicalBits &- 1)
    // Rights that make no sense, one bit for each value of bits 2:0.
    let senseless: UInt64 = features.hasExecuteOnly ? 0b0100_0100 : 0b0101_0100
    var entry: UInt64
    while true {
      let place = table | (address &>> (9 &* UInt64(truncatingIfNeeded: depth))) & 0xFF8
      counters.secondReferences &+= 1
      entry = memory.entryOrOnes(at: HostPhysical(place))
      if entry & 0b111 == 0 { return exit(access.violation(0)) }
      places[depth] = place
      entries[depth] = entry
      let isLeaf = depth == 1 || (depth <= 3 && entry & 1 << 7 != 0)
      if senseless &>> (entry & 0b111) & 1 != 0
        || entry & (physical | Self.shapeEPT(depth, isLeaf)) != 0
        || (isLeaf && Self.badMemoryTypes &>> (entry >> 3 & 7) & 1 != 0)
      {
        return exit(.eptMisconfiguration(GuestPhysical(address)))
      }
      all &= entry
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    guard access.isPermitted(read: all & 1 != 0, write: all & 2 != 0, fetch: all & 4 != 0)
    else { return exit(access.violation(all & 0b111)) }
    let marks = eptp & 1 << 6 != 0
    let isDirty = entry & 1 << 9 != 0
    if marks && (all & 1 << 8 == 0 || (access.writes && !isDirty)) {
      guard
        markSecond(
          entries, places, from: levels, to: depth, accessed: 1 << 8,
          dirty: access.writes ? 1 << 9 : 0)
      else { return .changed }
    }
    settle(entry, depth, address, &found)
    found.rights = SecondRights(
      read: all & 1 != 0, write: all & 2 != 0, execute: all & 4 != 0,
      dirty: !marks || access.writes || isDirty)
    return .found
  }

  /// Memory types 2, 3 and 7 do not exist.
  private static let badMemoryTypes: UInt64 = 1 << 2 | 1 << 3 | 1 << 7

  /// The bits that an entry's place and kind make reserved (SDM volume 3C, "EPT Misconfigurations").
  @inline(__always) private static func shapeEPT(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    if isLeaf { return depth == 1 ? 0 : depth == 2 ? 0x001F_F000 : 0x3FFF_F000 }
    return depth >= 4 ? 0xF8 : 0x78
  }

  @inline(__always) private func settle(
    _ entry: UInt64, _ depth: Int, _ address: UInt64, _ found: inout SecondFound
  ) {
    let level = Level(depth)
    found.level = level
    let inPage = level.byteCount &- 1
    found.host = entry & EntryBits.address & ~inPage | address & inPage
  }

  /// Sets accessed bits from the top down, and the leaf's dirty bit if the access needs it.
  private mutating func markSecond(
    _ entries: InlineArray<6, UInt64>, _ places: InlineArray<6, UInt64>, from top: Int,
    to leaf: Int, accessed: UInt64, dirty: UInt64
  ) -> Bool {
    var depth = top
    while depth >= leaf {
      let bits = depth == leaf ? accessed | dirty : accessed
      guard set(bits, in: entries[depth], at: places[depth]) else { return false }
      depth -= 1
    }
    return true
  }

  // MARK: NPT

  private mutating func walkNPT(
    _ access: SecondAccess, _ ncr3: UInt64, _ levels: Int, _ found: inout SecondFound
  ) -> WalkStep {
    let address = access.address
    var table = ncr3 & EntryBits.address
    var all: UInt64 = 0x27
    var any: UInt64 = 0
    var depth = levels
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    if levels < 5 && address >> 48 != 0 { return exit(access.nestedFault(0)) }
    let physical = EntryBits.physical & ~(1 &<< features.physicalBits &- 1)
    var entry: UInt64
    while true {
      let place = table | (address &>> (9 &* UInt64(truncatingIfNeeded: depth))) & 0xFF8
      counters.secondReferences &+= 1
      entry = memory.entryOrOnes(at: HostPhysical(place))
      if entry & 1 == 0 { return exit(access.nestedFault(0)) }
      places[depth] = place
      entries[depth] = entry
      let isLeaf = depth == 1 || (depth <= 3 && entry & 1 << 7 != 0)
      if entry & (physical | Self.shapeNPT(depth, isLeaf)) != 0 {
        return exit(access.nestedFault(1 | 1 << 3))
      }
      all &= entry
      any |= entry
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    let execute = any >> 63 == 0
    // Every nested walk is a user access, so a supervisor page refuses all.
    guard all & 4 != 0, access.isPermitted(read: true, write: all & 2 != 0, fetch: execute) else {
      return exit(access.nestedFault(1))
    }
    let isDirty = entry & 1 << 6 != 0
    if all & 1 << 5 == 0 || (access.writes && !isDirty) {
      guard
        markSecond(
          entries, places, from: levels, to: depth, accessed: 1 << 5,
          dirty: access.writes ? 1 << 6 : 0)
      else { return .changed }
    }
    settle(entry, depth, address, &found)
    found.rights = SecondRights(
      read: true, write: all & 2 != 0, execute: execute, dirty: access.writes || isDirty)
    return .found
  }

  /// The bits that an entry's place and kind make reserved (APM volume 2, "Long-Mode Page
  /// Translation").
  @inline(__always) private static func shapeNPT(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    if depth >= 4 { return 1 << 7 | 1 << 8 }
    return isLeaf ? depth == 1 ? 0 : depth == 2 ? 0x001F_E000 : 0x3FFF_E000 : 0
  }
}

/// One access to a guest-physical address.
struct SecondAccess {
  let address: UInt64
  let kind: AccessKind
  /// Whether it counts as a write: it is one, or it may set bits in the guest's tables.
  let writes: Bool
  let purpose: SecondPurpose
  let linear: UInt64?

  func isPermitted(read: Bool, write: Bool, fetch: Bool) -> Bool {
    if kind == .fetch { return fetch }
    return (!writes || write) && (kind == .write || read)
  }

  /// The exit of an EPT violation; `rights` are those that all entries of the walk give.
  func violation(_ rights: UInt64) -> HardwareExit {
    var qualification = rights << 3
    if kind == .read { qualification |= 1 }
    if writes { qualification |= 2 }
    if kind == .fetch { qualification |= 4 }
    if linear != nil {
      qualification |= 1 << 7
      if purpose == .final { qualification |= 1 << 8 }
    }
    return .eptViolation(
      qualification: qualification, GuestPhysical(address), linear: linear.map(GuestVirtual.init))
  }

  /// The exit of a nested page fault; `present` holds the bits that say why.
  func nestedFault(_ present: UInt64) -> HardwareExit {
    var code = present | 1 << 2
    if writes { code |= 1 << 1 }
    if kind == .fetch { code |= 1 << 4 }
    code |= purpose == .final ? 1 << 32 : 1 << 33
    return .nestedPageFault(errorCode: code, GuestPhysical(address))
  }
}
