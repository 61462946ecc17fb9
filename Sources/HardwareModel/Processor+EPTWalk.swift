import HostMemory
import PagingUnits

/// Bits of EPT entries and of the EPT pointer.
enum EPTBits {
  static let rights: UInt64 = 0b111
  static let read: UInt64 = 1 << 0
  static let write: UInt64 = 1 << 1
  static let execute: UInt64 = 1 << 2
  static let accessed: UInt64 = 1 << 8
  static let dirty: UInt64 = 1 << 9
  /// In the pointer: accessed and dirty bits are in use.
  static let pointerMarks: UInt64 = 1 << 6
  /// One bit for each memory type that does not exist: 2, 3 and 7.
  static let badMemoryTypes: UInt64 = 1 << 2 | 1 << 3 | 1 << 7
}

/// The walk of extended page tables (SDM volume 3C, "EPT Translation Mechanism").
extension Processor {
  mutating func walkEPT(
    _ access: SecondAccess, _ eptp: UInt64, _ levels: Int, _ found: inout SecondFound
  ) -> WalkStep {
    let address = access.address
    // An address that the tables cannot tell from a lower one has no translation.
    if address >> (levels == 5 ? 57 : 48) != 0 { return leave(access.violation(0)) }
    var table = eptp & EntryBits.address
    var all = UInt64.max
    var depth = levels
    var trail = WalkTrail()
    let beyond = EntryBits.beyond(features.physicalBits)
    // Rights that make no sense, one bit for each value of bits 2:0.
    let senseless: UInt64 = features.hasExecuteOnly ? 0b0100_0100 : 0b0101_0100
    var entry: UInt64
    while true {
      let place = Self.place(in: table, depth, address)
      counters.secondReferences &+= 1
      entry = memory.entryOrOnes(at: HostPhysical(place))
      if entry & EPTBits.rights == 0 { return leave(access.violation(0)) }
      trail.places[depth] = place
      trail.entries[depth] = entry
      let isLeaf = depth == 1 || (depth <= 3 && entry & EntryBits.pageSize != 0)
      if senseless &>> (entry & EPTBits.rights) & 1 != 0
        || entry & (beyond | shapeEPT(depth, isLeaf)) != 0
        || (isLeaf && EPTBits.badMemoryTypes &>> (entry >> 3 & 7) & 1 != 0)
      {
        return leave(.eptMisconfiguration(GuestPhysical(address)))
      }
      all &= entry
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    // The bits of rights stand as they stand in entries.
    var rights = SecondRights(rawValue: UInt8(truncatingIfNeeded: all & EPTBits.rights))
    if !access.isPermitted(rights) {
      guard isGranted(access, eptp, entry, depth, all & EPTBits.rights) else { return .refused }
      rights.insert(.subpages)
    }
    Self.settle(entry, depth, address, &found)
    found.rights = rights
    guard eptp & EPTBits.pointerMarks != 0 else {
      found.rights.insert(.dirty)
      return .found
    }
    let isDirty = entry & EPTBits.dirty != 0
    if isDirty || access.writes { found.rights.insert(.dirty) }
    if all & EPTBits.accessed == 0 || (access.writes && !isDirty) {
      let dirty = access.writes ? EPTBits.dirty : 0
      let isLogged = access.writes && !isDirty && modificationLog != nil
      if isLogged && modificationLog?.isFull == true {
        return leave(.modificationLogFull(GuestPhysical(address)))
      }
      guard markSecond(trail, from: levels, to: depth, accessed: EPTBits.accessed, dirty: dirty)
      else { return .changed }
      if isLogged { log(address) }
    }
    return .found
  }

  /// Notes a page of which the dirty bit was set (SDM volume 3C, "Page-Modification Logging").
  private mutating func log(_ address: UInt64) {
    guard let log = modificationLog else { return }
    memory.setEntry(address & ~0xFFF, at: log.page + UInt64(log.index) * 8)
    modificationLog?.index = log.index &- 1
  }

  /// The bits that an entry's place and kind make reserved (SDM volume 3C, "EPT
  /// Misconfigurations").
  @inline(__always) private func shapeEPT(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    guard isLeaf else { return depth >= 4 ? 0xF8 : 0x78 }
    if depth == 1 { return 0 }
    if depth > Int(features.largestSecondPage.depth) { return EntryBits.pageSize }
    return depth == 2 ? 0x001F_F000 : 0x3FFF_F000
  }
}
