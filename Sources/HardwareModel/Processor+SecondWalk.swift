import HostMemory
import PagingUnits

/// Where a guest-physical address lies.
struct SecondFound {
  var host: UInt64 = 0
  var level = Level.page1G
  var rights = SecondRights()
}

/// The second dimension (SDM volume 3C, "The Extended Page Table Mechanism (EPT)"; APM volume 2,
/// "Nested Paging").
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
    case .ept(let eptp):
      writes = kind == .write || (purpose == .table && eptp & EPTBits.pointerMarks != 0)
    // A walk of the guest's tables may set accessed bits there, so all of it is a write.
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
          host: known.hostPage | address & 0xFFF, level: known.level, rights: rights)
        return true
      }
      // What an exit may come from is not kept (SDM volume 3C, "Operations that Invalidate Cached
      // Mappings": an EPT violation invalidates what would be used for the address).
      walks.forget(physical: address)
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
          hostPage: found.host & ~0xFFF, level: found.level, rights: found.rights))
    }
    return true
  }

  mutating func leave(_ exit: HardwareExit) -> WalkStep {
    refusal = .exit(exit)
    return .refused
  }

  /// What a leaf says of the address.
  @inline(__always) func settle(
    _ entry: UInt64, _ depth: Int, _ address: UInt64, _ found: inout SecondFound
  ) {
    let level = Level(depth)
    found.level = level
    let inPage = level.byteCount &- 1
    found.host = entry & EntryBits.address & ~inPage | address & inPage
  }
}
