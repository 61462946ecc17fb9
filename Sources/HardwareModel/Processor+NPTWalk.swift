import HostMemory
import PagingUnits

/// The walk of nested page tables, which have the format of the host's own (APM volume 2, "Nested
/// Paging"). Every access is a user access.
extension Processor {
  mutating func walkNPT(
    _ access: SecondAccess, _ ncr3: UInt64, _ levels: Int, _ found: inout SecondFound
  ) -> WalkStep {
    let address = access.address
    if address >> (levels == 5 ? 57 : 48) != 0 { return leave(access.nestedFault(0)) }
    var table = ncr3 & EntryBits.address
    var gathered = GatheredBits()
    var depth = levels
    var trail = WalkTrail()
    let beyond = EntryBits.beyond(features.physicalBits) & ~encryptionMask
    var entry: UInt64
    while true {
      let place = self.place(of: Self.place(in: table, depth, address))
      counters.secondReferences &+= 1
      entry = memory.entryOrOnes(at: HostPhysical(place))
      if entry & EntryBits.present == 0 { return leave(access.nestedFault(0)) }
      trail.places[depth] = place
      trail.entries[depth] = entry
      let isLeaf = depth == 1 || (depth <= 3 && entry & EntryBits.pageSize != 0)
      if entry & (beyond | shapeNPT(depth, isLeaf)) != 0 {
        return leave(access.nestedFault(1 | 1 << 3))
      }
      gathered.gather(entry)
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    let granted = gathered.rights
    var rights: SecondRights = granted.contains(.user) ? .read : []
    if granted.contains(.write) { rights.insert(.write) }
    if granted.contains(.execute) { rights.insert(.execute) }
    guard granted.contains(.user), access.isPermitted(rights) else {
      return leave(access.nestedFault(1))
    }
    Self.settle(entry, depth, address, &found)
    found.host = place(of: found.host)
    found.rights = rights
    let isDirty = entry & EntryBits.dirty != 0
    if isDirty || access.writes { found.rights.insert(.dirty) }
    if !gathered.accessed || (access.writes && !isDirty) {
      let dirty = access.writes ? EntryBits.dirty : 0
      guard markSecond(trail, from: levels, to: depth, accessed: EntryBits.accessed, dirty: dirty)
      else { return .changed }
    }
    return .found
  }

  /// The bits that an entry's place and kind make reserved (APM volume 2, "Long-Mode Page
  /// Translation").
  @inline(__always) private func shapeNPT(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    if depth >= 4 { return EntryBits.pageSize | EntryBits.global }
    guard isLeaf && depth > 1 else { return 0 }
    if depth > Int(features.largestSecondPage.depth) { return EntryBits.pageSize }
    return depth == 2 ? 0x001F_E000 : 0x3FFF_E000
  }
}
