public import PagingUnits

/// What was wrong with an access, and what the access was: the error code of a page fault.
///
///     63        49 48        36 35 34 33 32 31 30       15      6  5  4  3  2  1  0
///     ┌───────────┬──┬──┬──────┬──┬──┬──┬──┬──┬──┬─────┬──┬────┬──┬──┬──┬──┬──┬──┬──┐
///     │           │pA│iA│      │VM│sz│en│GP│GF│RM│     │SG│    │SS│PK│F │R │U │W │P │
///     └───────────┴──┴──┴──────┴──┴──┴──┴──┴──┴──┴─────┴──┴────┴──┴──┴──┴──┴──┴──┴──┘
///
/// Bits 31:0 are the hardware's (SDM volume 3A, "Page-Fault Error Codes"); of the upper half AMD
/// uses bits 36:32 for nested page faults, and KVM invents bits 48 and 49 (KVM: `PFERR_*_MASK`).
public struct PageFaultErrorCode: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt64
  /// Wraps the bits.
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The fault was a violation of rights, not an absent entry.
  public static let present = Self(rawValue: 1 << 0)
  /// The access was a write.
  public static let write = Self(rawValue: 1 << 1)
  /// The access was made in user mode.
  public static let user = Self(rawValue: 1 << 2)
  /// A reserved bit was set in an entry.
  public static let reserved = Self(rawValue: 1 << 3)
  /// The access was an instruction fetch.
  public static let fetch = Self(rawValue: 1 << 4)
  /// A protection key refused the access.
  public static let protectionKey = Self(rawValue: 1 << 5)
  /// The access was to a shadow stack.
  public static let shadowStack = Self(rawValue: 1 << 6)
  /// The fault came from SGX, not from paging.
  public static let enclave = Self(rawValue: 1 << 15)
  /// The reverse map table refused the access (AMD).
  public static let reverseMap = Self(rawValue: 1 << 31)
  /// The second dimension failed for the final address of an access.
  public static let guestFinal = Self(rawValue: 1 << 32)
  /// The second dimension failed for an entry of the guest's own tables.
  public static let guestPage = Self(rawValue: 1 << 33)
  /// The access was to encrypted memory of the guest (AMD).
  public static let guestEncrypted = Self(rawValue: 1 << 34)
  /// The page sizes of the two tables differ (AMD).
  public static let guestSizeMismatch = Self(rawValue: 1 << 35)
  /// The virtual machine privilege level refused the access (AMD).
  public static let guestPrivilegeLevel = Self(rawValue: 1 << 36)
  /// The access was an implicit one of the processor: descriptor tables, TSS (KVM's own bit).
  public static let implicitAccess = Self(rawValue: 1 << 48)
  /// The access was to private memory (KVM's own bit).
  public static let privateAccess = Self(rawValue: 1 << 49)

  /// The bits that KVM invents; they are stripped from codes that come from a processor.
  public static let synthetic: Self = [.implicitAccess, .privateAccess]

  /// The code as a guest sees it: bits 31:0.
  public var guestCode: UInt32 { UInt32(truncatingIfNeeded: rawValue) }

  /// What an access asks for, before anything is known to be wrong with it.
  public init(asking kind: AccessKind, by privilege: Privilege) {
    var bits: UInt64 = 0
    switch kind {
    case .read: break
    case .write: bits = 1 << 1
    case .fetch: bits = 1 << 4
    }
    switch privilege {
    case .user: bits |= 1 << 2
    case .supervisor: break
    case .implicitSupervisor: bits |= 1 << 48
    }
    rawValue = bits
  }

  /// What an access to an EPT-shaped table asks for; there `user` stands for "read".
  public init(askingEPT kind: AccessKind) {
    switch kind {
    case .read: rawValue = 1 << 2
    case .write: rawValue = 1 << 1
    case .fetch: rawValue = 1 << 4
    }
  }

  /// The code by which KVM handles an EPT violation (KVM: `handle_ept_violation`; SDM volume 3C,
  /// "Exit Qualification for EPT Violations").
  public init(eptViolation word: UInt64) {
    var code: Self = []
    if word & 1 << 0 != 0 { code.insert(.user) }
    if word & 1 << 1 != 0 { code.insert(.write) }
    if word & 1 << 2 != 0 { code.insert(.fetch) }
    if word & 0b111 << 3 != 0 { code.insert(.present) }
    if word & 1 << 7 != 0 { code.insert(word & 1 << 8 != 0 ? .guestFinal : .guestPage) }
    self = code
  }
}
