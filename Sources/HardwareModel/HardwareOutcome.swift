public import PagingUnits

/// What the hardware makes of an address.
public enum HardwareOutcome: Hashable, Sendable {
  /// The access reaches memory.
  case translated(Translation)
  /// The guest gets a page fault with this error code.
  case pageFault(errorCode: UInt32)
  /// The address is not canonical; #GP, or #SS for a stack access.
  case generalProtection
  /// The processor leaves the guest.
  case exit(HardwareExit)
}

/// Where an access goes, and what else may go there without another walk.
public struct Translation: Hashable, Sendable {
  /// The host-physical address of the very byte.
  public var hostPhysical: HostPhysical
  /// The guest-physical address of the very byte.
  public var guestPhysical: GuestPhysical
  /// The smallest page of the two dimensions: how far the translation reaches.
  public var level: Level
  /// What the same privilege may do here now; a write only where both dirty bits are set already.
  public var usable: Usable
  /// Whether the guest's entry is global.
  public var isGlobal: Bool

  /// What an access may do without another walk.
  public struct Usable: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// Wraps the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Read data.
    public static let read = Usable(rawValue: 1)
    /// Write data.
    public static let write = Usable(rawValue: 2)
    /// Fetch instructions.
    public static let fetch = Usable(rawValue: 4)
  }
}

/// Why a processor leaves the guest for an address.
public enum HardwareExit: Hashable, Sendable {
  /// Intel's exit 48, with its qualification (SDM volume 3C, "Exit Qualification for EPT
  /// Violations").
  case eptViolation(qualification: UInt64, GuestPhysical, linear: GuestVirtual?)
  /// Intel's exit 49.
  case eptMisconfiguration(GuestPhysical)
  /// AMD's exit 400h: EXITINFO1 and EXITINFO2.
  case nestedPageFault(errorCode: UInt64, GuestPhysical)
}

/// What a processor counts.
public struct HardwareCounters: Hashable, Sendable {
  /// Accesses answered by a kept translation.
  public var hits: UInt64 = 0
  /// Accesses that walked.
  public var misses: UInt64 = 0
  /// Entries of the guest's tables that were read.
  public var guestReferences: UInt64 = 0
  /// Entries of the second dimension that were read.
  public var secondReferences: UInt64 = 0
  /// Walks of either dimension shortened by something kept.
  public var walkHits: UInt64 = 0
  /// Accessed and dirty bits set.
  public var assists: UInt64 = 0

  /// Nothing counted yet.
  public init() {}
}

/// What an instruction, or a hypervisor, makes a processor forget.
public enum Invalidation: Hashable, Sendable {
  /// Everything, whatever its tag.
  case everything
  /// Everything that came through one root of the second dimension (INVEPT, single-context).
  case root(SecondDimension)
  /// Every linear translation, global ones too (MOV to CR4 that changes PGE, INVVPID).
  case allLinear
  /// Every linear translation of the current PCID that is not global (MOV to CR3).
  case currentSpace
  /// Every linear translation of one PCID that is not global (INVPCID type 1).
  case space(pcid: UInt16)
  /// Every linear translation that is not global, of any PCID (INVPCID type 3).
  case allSpaces
  /// One address in the current PCID, and global (INVLPG).
  case linearAddress(GuestVirtual)
  /// One address in one PCID, global ones excepted (INVPCID type 0).
  case linearAddressIn(pcid: UInt16, GuestVirtual)
}
