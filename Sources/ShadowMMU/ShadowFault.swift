import GuestMemory
import HostMemory
public import PagingUnits
public import X86Paging

/// An access that the shadow tables did not permit, as the hardware's page fault reports it.
public struct ShadowFault: Sendable {
  /// The linear address.
  public var address: GuestVirtual
  /// What the access does.
  public var kind: AccessKind
  /// On whose behalf.
  public var privilege: Privilege
  /// The error code of the hardware's page fault.
  public var errorCode: PageFaultErrorCode
  /// The number of the virtual processor, for tracepoints.
  public var processor: UInt32

  /// A fault in full.
  public init(
    address: GuestVirtual, kind: AccessKind, privilege: Privilege, errorCode: PageFaultErrorCode,
    processor: UInt32
  ) {
    self.address = address
    self.kind = kind
    self.privilege = privilege
    self.errorCode = errorCode
    self.processor = processor
  }
}

/// What came of a fault (KVM: `RET_PF_*`, and the injection of a page fault).
public enum ShadowFaultOutcome: Hashable, Sendable {
  /// Something was in the way that will pass: let the guest try again.
  case retry
  /// The guest's own tables refuse the access: it gets this page fault.
  case guestFault(PageFaultErrorCode)
  /// The address is not canonical for the guest.
  case nonCanonical
  /// The hypervisor performs the access: a device, or a write to a read-only slot.
  case emulate(GuestPhysical)
  /// The page may not be written because it holds a guest's table: the hypervisor performs the
  /// write, and says so with `wrote`.
  case writeProtected(GuestPhysical)
  /// An entry was installed or repaired.
  case fixed
  /// The access is already permitted.
  case spurious
  /// The host cannot give the page, or there is no room for a table: left to the VMM.
  case failed(ShadowFailure, GuestPhysical)
}

/// Why the host cannot give a page.
public enum ShadowFailure: Hashable, Sendable {
  /// The slot's host address maps nothing.
  case badAddress
  /// The page is damaged.
  case poisoned
  /// There is no memory left for a page or a table.
  case noMemory
}

/// What a fault is about, once the guest's tables were walked.
///
/// It is not copied: it is some hundred bytes, and every step of a fault looks at it.
struct ShadowTarget: ~Copyable {
  let fault: ShadowFault
  let path: WalkPath
  let mapping: GuestMapping
  let space: AddressSpace
  let slot: Memslot?
  /// What the leaf is to permit.
  var rights: AccessRights
  /// The moment before the host's page was looked up.
  var moment: InvalidationMoment
  /// The host's page; `nil` for a device.
  var page: HostPage?

  var frame: GuestFrame { mapping.frame }
  var address: GuestPhysical { mapping.address }
}
