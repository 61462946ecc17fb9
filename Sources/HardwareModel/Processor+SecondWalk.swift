import HostMemory
import PagingUnits

/// Where a guest-physical address lies.
struct SecondFound {
  var host: UInt64
  var level: Level
  var rights: SecondRights
}

/// What the second dimension makes of a guest-physical address.
enum SecondResult {
  case found(SecondFound)
  case exit(HardwareExit)
}

/// What a guest-physical address is used for.
enum SecondPurpose { case final, table }

/// The walk of the second dimension (SDM Vol. 3C, "The Extended Page Table Mechanism (EPT)"; APM
/// Vol. 2, "Nested Paging").
extension Processor {
  mutating func second(
    _ address: UInt64, _ kind: AccessKind, _ purpose: SecondPurpose, linear: UInt64?,
    _ dimension: SecondDimension
  ) -> SecondResult {
    let writes: Bool
    switch dimension {
    case .none:
      return .found(SecondFound(host: address, level: .page1G, rights: SecondRights()))
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
        return .found(
          SecondFound(
            host: known.hostPage | address & 0xFFF, level: level(bytes: known.pageBytes),
            rights: rights))
      }
    }
    let access = SecondAccess(
      address: address, kind: kind, writes: writes, purpose: purpose, linear: linear)
    var result: SecondResult?
    while result == nil {
      switch dimension {
      case .ept(let eptp): result = walkEPT(access, eptp)
      case .npt(let ncr3, let levels): result = walkNPT(access, ncr3, Int(levels.rawValue))
      case .none: break
      }
    }
    guard let result else { preconditionFailure("a walk ends") }
    if features.keepsWalks, case .found(let found) = result {
      walks.keep(
        physical: address, root: dimension.tag,
        WalkCache.Physical(
          hostPage: found.host & ~0xFFF, pageBytes: found.level.byteCount, rights: found.rights))
    }
    return result
  }

  private func level(bytes: UInt64) -> Level {
    bytes == Level.page4K.byteCount ? .page4K : bytes == Level.page2M.byteCount ? .page2M : .page1G
  }

  private func read(_ place: UInt64) -> UInt64 {
    let address = HostPhysical(place)
    return memory.contains(address, count: 8) ? memory.entry(at: address) : .max
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

  private mutating func walkEPT(_ access: SecondAccess, _ eptp: UInt64) -> SecondResult? {
    let levels = Int(eptp >> 3 & 7) + 1
    let marks = eptp & 1 << 6 != 0
    var table = eptp & 0x000F_FFFF_FFFF_F000
    var rights: UInt64 = 0b111
    // Four levels translate 48 bits; an address beyond them has no translation.
    if levels < 5 && access.address >> 48 != 0 { return .exit(access.violation(0)) }
    var depth = levels
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    while true {
      let place = table | (access.address >> (12 + 9 * UInt64(depth - 1)) & 511) << 3
      counters.secondReferences &+= 1
      let entry = read(place)
      if entry & 0b111 == 0 { return .exit(access.violation(0)) }
      let isLeaf = depth == 1 || (depth <= 3 && entry & 1 << 7 != 0)
      if isMisconfigured(entry, depth, isLeaf) {
        return .exit(.eptMisconfiguration(GuestPhysical(access.address)))
      }
      places[depth] = place
      entries[depth] = entry
      rights &= entry
      if isLeaf { break }
      table = entry & 0x000F_FFFF_FFFF_F000
      depth -= 1
    }
    guard access.isPermitted(read: rights & 1 != 0, write: rights & 2 != 0, fetch: rights & 4 != 0)
    else { return .exit(access.violation(rights & 0b111)) }
    if marks {
      var at = levels
      while at >= depth {
        let bits: UInt64 = at == depth && access.writes ? 1 << 8 | 1 << 9 : 1 << 8
        guard set(bits, in: entries[at], at: places[at]) else { return nil }
        at -= 1
      }
    }
    let level = Level(depth)
    let page = entries[depth] & 0x000F_FFFF_FFFF_F000 & ~(level.byteCount - 1)
    let isDirty = !marks || access.writes || entries[depth] & 1 << 9 != 0
    return .found(
      SecondFound(
        host: page | access.address & (level.byteCount - 1), level: level,
        rights: SecondRights(
          read: rights & 1 != 0, write: rights & 2 != 0, execute: rights & 4 != 0, dirty: isDirty)))
  }

  /// Whether a present entry makes no sense (SDM Vol. 3C, "EPT Misconfigurations").
  private func isMisconfigured(_ entry: UInt64, _ depth: Int, _ isLeaf: Bool) -> Bool {
    let rights = entry & 0b111
    if rights & 0b011 == 0b010 { return true }
    if rights == 0b100 && !features.hasExecuteOnly { return true }
    var reserved = (0x000F_FFFF_FFFF_FFFF as UInt64) & ~(1 << features.physicalBits - 1)
    if isLeaf {
      if depth == 3 { reserved |= 0x3FFF_F000 }
      if depth == 2 { reserved |= 0x001F_F000 }
      let memoryType = entry >> 3 & 7
      if memoryType == 2 || memoryType == 3 || memoryType == 7 { return true }
    } else {
      reserved |= depth >= 4 ? 0xF8 : 0x78
    }
    return entry & reserved != 0
  }

  // MARK: NPT

  private mutating func walkNPT(
    _ access: SecondAccess, _ ncr3: UInt64, _ levels: Int
  ) -> SecondResult? {
    var table = ncr3 & 0x000F_FFFF_FFFF_F000
    var (write, user, execute) = (true, true, true)
    var depth = levels
    var places = InlineArray<6, UInt64>(repeating: 0)
    var entries = InlineArray<6, UInt64>(repeating: 0)
    if levels < 5 && access.address >> 48 != 0 { return .exit(access.nestedFault(0)) }
    while true {
      let place = table | (access.address >> (12 + 9 * UInt64(depth - 1)) & 511) << 3
      counters.secondReferences &+= 1
      let entry = read(place)
      if entry & 1 == 0 { return .exit(access.nestedFault(0)) }
      let isLeaf = depth == 1 || (depth <= 3 && entry & 1 << 7 != 0)
      var reserved = (0x000F_FFFF_FFFF_FFFF as UInt64) & ~(1 << features.physicalBits - 1)
      if depth >= 4 { reserved |= 1 << 7 | 1 << 8 }
      if isLeaf && depth == 3 { reserved |= 0x3FFF_E000 }
      if isLeaf && depth == 2 { reserved |= 0x001F_E000 }
      if entry & reserved != 0 { return .exit(access.nestedFault(1 | 1 << 3)) }
      places[depth] = place
      entries[depth] = entry
      write = write && entry & 2 != 0
      user = user && entry & 4 != 0
      execute = execute && entry >> 63 == 0
      if isLeaf { break }
      table = entry & 0x000F_FFFF_FFFF_F000
      depth -= 1
    }
    // Every nested walk is a user access, so a supervisor page refuses all.
    guard user, access.isPermitted(read: true, write: write, fetch: execute) else {
      return .exit(access.nestedFault(1))
    }
    var at = levels
    while at >= depth {
      let bits: UInt64 = at == depth && access.writes ? 1 << 5 | 1 << 6 : 1 << 5
      guard set(bits, in: entries[at], at: places[at]) else { return nil }
      at -= 1
    }
    let level = Level(depth)
    let page = entries[depth] & 0x000F_FFFF_FFFF_F000 & ~(level.byteCount - 1)
    return .found(
      SecondFound(
        host: page | access.address & (level.byteCount - 1), level: level,
        rights: SecondRights(
          read: true, write: write, execute: execute,
          dirty: access.writes || entries[depth] & 1 << 6 != 0)))
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
