import HostMemory
import PagingUnits

/// The walk that almost every walk is: all entries present, marked already, and well-formed.
///
/// It asks of all entries together what a careful walk asks of each, so that nothing stands between
/// one reading and the next. Whatever is out of the ordinary is left to the careful walk, which
/// starts over and finds out what it is; so this one only ever says yes.
extension Processor {
  /// Walks the tables of a guest in a 64-bit mode; `false` leaves what is told as it was.
  @inline(__always)
  mutating func goStraight(
    _ linear: UInt64, _ access: HardwareAccess, _ tag: TranslationTag, root: UInt64,
    _ dimension: SecondDimension, _ result: inout KeptTranslation
  ) -> Bool {
    guard mode.goesStraight else { return false }
    if case .none = dimension, !features.keepsWalks {
      let path = StraightPath(memory, from: root & EntryBits.address, depth: mode.levels, linear)
      guard let rights = rights(path, access) else { return false }
      let target = path.target(of: linear)
      result = KeptTranslation(
        linear: linear, tag, guest: target, SecondFound(host: target), Level(path.depth), rights,
        key: Self.key(path.entry))
      counters.guestReferences &+= UInt64(truncatingIfNeeded: mode.levels &- path.depth &+ 1)
      return true
    }
    if secondMode.dimension != dimension { secondMode = SecondMode(dimension, features) }
    return features.keepsWalks
      ? goStraightKeeping(linear, access, tag, root: root & EntryBits.address, &result)
      : goStraightNested(linear, access, tag, root: root & EntryBits.address, &result)
  }

  /// The walk through a second dimension, by a processor that keeps no walks.
  private mutating func goStraightNested(
    _ linear: UInt64, _ access: HardwareAccess, _ tag: TranslationTag, root: UInt64,
    _ result: inout KeptTranslation
  ) -> Bool {
    var path = StraightPath(below: GatheredBits(), depth: mode.levels)
    var table = root
    var references: UInt64 = 0
    while true {
      let place = Self.place(in: table, path.depth, linear)
      let second = StraightPath(memory, from: secondMode.root, depth: secondMode.levels, place)
      guard place &>> 48 == 0, secondMode.rules.hold(second, secondMode.forTable) else {
        return false
      }
      references &+= UInt64(truncatingIfNeeded: secondMode.levels &- second.depth &+ 1)
      path.entry = memory.entryOrOnes(at: HostPhysical(second.target(of: place)))
      path.gathered.gather(path.entry)
      if path.depth == 1 || path.entry & EntryBits.pageSize != 0 { break }
      path.tables |= path.entry
      table = path.entry & EntryBits.address
      path.depth &-= 1
    }
    guard let rights = rights(path, access) else { return false }
    let target = path.target(of: linear)
    let second = StraightPath(memory, from: secondMode.root, depth: secondMode.levels, target)
    guard target &>> 48 == 0, secondMode.rules.hold(second, secondMode.need(access.kind)) else {
      return false
    }
    references &+= UInt64(truncatingIfNeeded: secondMode.levels &- second.depth &+ 1)
    let found = SecondFound(
      host: second.target(of: target), level: Level(second.depth),
      rights: secondMode.rights(second))
    result = KeptTranslation(
      linear: linear, tag, guest: target, found, Level(path.depth), rights,
      key: Self.key(path.entry))
    counters.guestReferences &+= UInt64(truncatingIfNeeded: mode.levels &- path.depth &+ 1)
    counters.secondReferences &+= references
    return true
  }

  /// The walk of a processor that keeps walks, in either number of dimensions.
  private mutating func goStraightKeeping(
    _ linear: UInt64, _ access: HardwareAccess, _ tag: TranslationTag, root: UInt64,
    _ result: inout KeptTranslation
  ) -> Bool {
    var path = StraightPath(below: GatheredBits(), depth: mode.levels)
    var table = root
    let before = counters
    if let kept = walks.lowestTable(linear, tag) {
      counters.walkHits &+= 1
      table = kept.upper.table
      path = StraightPath(below: kept.upper.gathered, depth: kept.depth)
    }
    let (top, above) = (path.depth, path.gathered)
    var trail = WalkTrail()
    while true {
      let place = Self.place(in: table, path.depth, linear)
      guard let host = straightSecond(place, secondMode.forTable) else {
        counters = before
        return false
      }
      path.entry = memory.entryOrOnes(at: HostPhysical(host.host))
      path.gathered.gather(path.entry)
      if path.depth == 1 || path.entry & EntryBits.pageSize != 0 { break }
      trail.entries[path.depth] = path.entry
      path.tables |= path.entry
      table = path.entry & EntryBits.address
      path.depth &-= 1
    }
    let target = path.target(of: linear)
    guard let rights = rights(path, access),
      let found = straightSecond(target, secondMode.need(access.kind))
    else {
      counters = before
      return false
    }
    result = KeptTranslation(
      linear: linear, tag, guest: target, found, Level(path.depth), rights,
      key: Self.key(path.entry))
    counters.guestReferences &+= UInt64(truncatingIfNeeded: top &- path.depth &+ 1)
    remember(linear, tag, trail, above, from: top, to: path.depth)
    return true
  }

  /// Takes one address through the second dimension, or what is kept of it; `nil` for whatever is
  /// out of the ordinary.
  private mutating func straightSecond(_ address: UInt64, _ need: TableNeed) -> SecondFound? {
    if case .none = secondMode.dimension { return SecondFound(host: address) }
    let tag = secondMode.dimension.tag
    if let known = walks.physical(address, root: tag) {
      // Whether it serves this access is the careful walk's to judge, which forgets it if not.
      guard secondMode.isGranted(need, by: known.rights) else { return nil }
      counters.walkHits &+= 1
      return known.found(address)
    }
    let path = StraightPath(memory, from: secondMode.root, depth: secondMode.levels, address)
    guard address &>> 48 == 0, secondMode.rules.hold(path, need) else { return nil }
    counters.secondReferences &+= UInt64(truncatingIfNeeded: secondMode.levels &- path.depth &+ 1)
    let found = SecondFound(
      host: path.target(of: address), level: Level(path.depth), rights: secondMode.rights(path))
    walks.keep(physical: address, root: tag, WalkCache.Physical(found))
    return found
  }

  @inline(__always) private static func key(_ leaf: UInt64) -> UInt8 {
    UInt8(truncatingIfNeeded: leaf &>> 59 & 15)
  }

  /// The rights of a path through the guest's tables, if its entries are as they must be and permit
  /// the access.
  @inline(__always)
  private func rights(_ path: StraightPath, _ access: HardwareAccess) -> GuestRights? {
    guard mode.rules.hold(path, mode.need) else { return nil }
    var rights = path.gathered.rights
    if path.entry & EntryBits.dirty != 0 {
      rights.insert(.dirty)
    } else if access.writes {
      return nil
    }
    if path.entry & EntryBits.global != 0 && mode.globalPages { rights.insert(.global) }
    let usable = mode.usable(access, rights, key: Self.key(path.entry))
    return usable.contains(access.need) ? rights : nil
  }
}
