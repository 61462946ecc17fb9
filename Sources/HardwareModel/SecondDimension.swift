/// What stands behind the guest's physical addresses.
public enum SecondDimension: Hashable, Sendable {
  /// Nothing: guest-physical addresses are the host's, as under shadow paging.
  case none
  /// Extended page tables, by the EPT pointer (SDM volume 3C, "Extended-Page-Table Pointer").
  case ept(eptp: UInt64)
  /// Nested page tables, by nCR3 and the host's paging mode (APM volume 2, "Nested Paging").
  case npt(ncr3: UInt64, levels: Levels)

  /// How many levels a nested page table has.
  public enum Levels: UInt8, Hashable, Sendable {
    /// The host runs with 4-level paging.
    case four = 4
    /// The host runs with 5-level paging.
    case five = 5
  }

  /// The frame bits of the root, by which cached translations are tagged (SDM: EP4TA).
  var tag: UInt64 {
    switch self {
    case .none: 0
    case .ept(let eptp): eptp & 0x000F_FFFF_FFFF_F000
    case .npt(let ncr3, _): ncr3 & 0x000F_FFFF_FFFF_F000
    }
  }
}
