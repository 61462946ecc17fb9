import HostMemory
import PagingUnits

/// Where a guest-physical address lies.
struct SecondFound {
  var host: UInt64 = 0
  var level = Level.page1G
  var rights = SecondRights.all
}

/// The second dimension (SDM volume 3C, "The Extended Page Table Mechanism (EPT)"; APM volume 2,
/// "Nested Paging").
extension Processor {
  /// Translates a guest-physical address; `false` for an exit, which stands in `refusal`.
  mutating func second(
    _ address: UInt64, _ kind: AccessKind, _ purpose: SecondPurpose, linear: UInt64?,
    _ dimension: SecondDimension, _ found: inout SecondFound
  ) -> Bool {
    if case .none = dimension {
      found.host = place(of: address)
      return true
    }
    let writes = dimension.writes(kind, purpose)
    if features.keepsWalks, let known = walks.physical(address, root: dimension.tag) {
      if known.permits(kind, writes: writes) {
        counters.walkHits &+= 1
        found = known.found(address)
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
      case .ept(let eptp): step = walkEPT(access, eptp, dimension.levels, &found)
      case .npt(let ncr3, _): step = walkNPT(access, ncr3, dimension.levels, &found)
      case .none: preconditionFailure("no second dimension has nothing to walk")
      }
    }
    guard step == .found else { return false }
    if features.keepsWalks {
      walks.keep(physical: address, root: dimension.tag, WalkCache.Physical(found))
    }
    return true
  }

  mutating func leave(_ exit: HardwareExit) -> WalkStep {
    refusal = .exit(instruction.isEmpty ? exit : exit.during(instruction))
    return .refused
  }

  /// What a leaf says of the address.
  @inline(__always) static func settle(
    _ entry: UInt64, _ depth: Int, _ address: UInt64, _ found: inout SecondFound
  ) {
    let level = Level(depth)
    found.level = level
    let inPage = level.byteCount &- 1
    found.host = entry & EntryBits.address & ~inPage | address & inPage
  }
}
