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

  var isEPT: Bool { if case .ept = self { true } else { false } }

  /// How many levels the tables have.
  ///
  /// Traps for an EPT pointer that no VM entry accepts, which is the caller's mistake.
  @inline(__always) var levels: Int {
    switch self {
    case .none: return 0
    case .npt(_, let levels): return Int(levels.rawValue)
    case .ept(let eptp):
      let levels = Int(truncatingIfNeeded: eptp &>> 3 & 7) &+ 1
      precondition(levels == 4 || levels == 5, "VM entry refuses an EPT pointer of another length")
      return levels
    }
  }

  /// Whether an access counts as a write: it is one, or it reads a table of the guest's, in which
  /// NPT always and EPT with accessed and dirty bits might have to set a bit.
  @inline(__always) func writes(_ kind: AccessKind, _ purpose: SecondPurpose) -> Bool {
    if kind == .write { return true }
    guard purpose == .table else { return false }
    switch self {
    case .none: return false
    case .ept(let eptp): return eptp & EPTBits.pointerMarks != 0
    case .npt: return true
    }
  }

  /// The root that a tag names, if it names one.
  static func root(ofTag tag: UInt64) -> HostPhysical? {
    tag & 1 != 0 ? HostPhysical(tag & EntryBits.address) : nil
  }
}
