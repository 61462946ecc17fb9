/// Why an access faulted, in KVM's terms (`PFERR_*`): the processor's error code in the low half,
/// what only a hypervisor knows in the high half.
///
/// SDM Vol. 3A, "Page-Fault Exceptions"; APM Vol. 2, "Nested Page Faults".
public struct PageFaultErrorCode: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt64
  /// Wraps the bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// P: the translation exists and was refused.
  public static let present = PageFaultErrorCode(rawValue: 1 << 0)
  /// W/R: the access wrote.
  public static let write = PageFaultErrorCode(rawValue: 1 << 1)
  /// U/S: the access was a user's; a read under EPT.
  public static let user = PageFaultErrorCode(rawValue: 1 << 2)
  /// RSVD: an entry has a reserved bit set.
  public static let reserved = PageFaultErrorCode(rawValue: 1 << 3)
  /// I/D: the access fetched an instruction.
  public static let fetch = PageFaultErrorCode(rawValue: 1 << 4)
  /// PK: a protection key refused.
  public static let protectionKey = PageFaultErrorCode(rawValue: 1 << 5)
  /// The nested walk was for the final address.
  public static let guestFinal = PageFaultErrorCode(rawValue: 1 << 32)
  /// The nested walk was for a table of the guest.
  public static let guestPage = PageFaultErrorCode(rawValue: 1 << 33)
  /// The access is the processor's own (KVM: `PFERR_IMPLICIT_ACCESS`, synthetic).
  public static let implicitAccess = PageFaultErrorCode(rawValue: 1 << 48)
  /// The access is to private memory (KVM: `PFERR_PRIVATE_ACCESS`, synthetic).
  public static let privateAccess = PageFaultErrorCode(rawValue: 1 << 49)

  /// The code of an EPT violation (KVM: `handle_ept_violation`).
  ///
  /// The bits of the exit qualification become the bits of a page fault; "readable" stands in for
  /// "user".
  public init(eptViolation qualification: UInt64) {
    var code: PageFaultErrorCode = []
    if qualification & 1 << 0 != 0 { code.insert(.user) }
    if qualification & 1 << 1 != 0 { code.insert(.write) }
    if qualification & 1 << 2 != 0 { code.insert(.fetch) }
    if qualification & 0b111 << 3 != 0 { code.insert(.present) }
    if qualification & 1 << 7 != 0 {
      code.insert(qualification & 1 << 8 != 0 ? .guestFinal : .guestPage)
    }
    self = code
  }
}
