import PagingUnits

/// What stands behind the guest's physical addresses.
public enum SecondDimension: Hashable, Sendable {
  /// Nothing: guest-physical addresses are the host's, as under shadow paging.
  case none
  /// Extended page tables, by the EPT pointer (SDM volume 3C, "Extended-Page-Table Pointer"): its
  /// walk length, which is 4 or 5 levels, and its accessed/dirty bit are read.
  case ept(eptp: UInt64)
  /// Nested page tables, by nCR3 and the host's paging mode, in which EFER.NXE is 1 (APM volume 2,
  /// "Nested Paging").
  case npt(ncr3: UInt64, levels: Levels)

  /// How many levels a nested page table has.
  public enum Levels: UInt8, Hashable, Sendable {
    /// The host runs with 4-level paging.
    case four = 4
    /// The host runs with 5-level paging.
    case five = 5
  }

  /// What tells the kept translations of this dimension from others'.
  ///
  /// Intel's go by the address of the root (SDM: EP4TA). AMD's go by ASID alone: a hypervisor that
  /// loads another nCR3 has to flush.
  @inline(__always) var tag: UInt64 {
    switch self {
    case .none: 0
    case .ept(let eptp): eptp & EntryBits.address | 1
    case .npt: 2
    }
  }

  /// The root that a tag names, if it names one.
  static func root(ofTag tag: UInt64) -> HostPhysical? {
    tag & 1 != 0 ? HostPhysical(tag & EntryBits.address) : nil
  }
}
