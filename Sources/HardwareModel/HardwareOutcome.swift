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

/// Why a processor leaves the guest for an address.
public enum HardwareExit: Hashable, Sendable {
  /// Intel's exit 48, with its qualification (SDM volume 3C, "Exit Qualification for EPT
  /// Violations").
  case eptViolation(qualification: UInt64, GuestPhysical, linear: GuestVirtual?)
  /// Intel's exit 49.
  case eptMisconfiguration(GuestPhysical)
  /// Intel's exit 66, with its qualification: bit 11 for a miss, and 0 there for a misconfiguration
  /// (SDM volume 3C, "Sub-Page Write Permissions").
  ///
  /// A sub-page that may not be written is an EPT violation like any other.
  case subpageEvent(qualification: UInt64, GuestPhysical, linear: GuestVirtual)
  /// Intel's exit 62: the write would make a page dirty, and the log of such pages is full.
  case modificationLogFull(GuestPhysical)
  /// AMD's exit 400h: EXITINFO1 and EXITINFO2.
  case nestedPageFault(errorCode: UInt64, GuestPhysical)
}
