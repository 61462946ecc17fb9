public import PagingUnits

/// A change to a memslot that somebody asks for (KVM: `kvm_userspace_memory_region`).
///
/// A length of zero takes the slot away; an id that exists moves or changes it.
public struct MemslotRegion: Hashable, Sendable {
  /// The slot's number.
  public var id: MemslotID
  /// The set of slots.
  public var addressSpace: AddressSpace
  /// What is asked of the slot.
  public var flags: MemslotFlags
  /// Where the slot starts in the guest's physical memory.
  public var guestAddress: GuestPhysical
  /// The length in bytes.
  public var byteCount: UInt64
  /// Where the slot starts in the host process.
  public var hostAddress: HostVirtual
  /// Who asks.
  public var origin: Origin

  /// Who asks for a slot, and so which ids may be used.
  public enum Origin: UInt8, Hashable, Sendable {
    /// The user: ids below 32,764.
    case user
    /// The machine itself: every id.
    case machine
  }

  /// A request for a slot of `byteCount` bytes.
  public init(
    id: MemslotID, addressSpace: AddressSpace = .normal, flags: MemslotFlags = [],
    guestAddress: GuestPhysical, byteCount: UInt64, hostAddress: HostVirtual,
    origin: Origin = .user
  ) {
    self.id = id
    self.addressSpace = addressSpace
    self.flags = flags
    self.guestAddress = guestAddress
    self.byteCount = byteCount
    self.hostAddress = hostAddress
    self.origin = origin
  }
}

/// Why a memslot cannot be changed as asked, in the order in which KVM finds out (KVM:
/// `__kvm_set_memory_region`).
public enum MemslotError: Error, Hashable, Sendable {
  /// The user asked for an id of the machine's own.
  case reservedID(MemslotID)
  /// A flag that does not exist, or that this machine does not have.
  case flags(MemslotFlags)
  /// The length is not whole pages.
  case size(UInt64)
  /// The guest-physical address is not the start of a page.
  case guestAddress(GuestPhysical)
  /// The host address is not the start of a page, or the range leaves the process's addresses.
  case hostAddress(HostVirtual)
  /// The machine does not have this address space.
  case addressSpace(AddressSpace)
  /// No slot can have this number.
  case id(MemslotID)
  /// The guest-physical range runs past 2^64.
  case wraps
  /// A slot has at most 2^31 - 1 pages.
  case tooManyPages(UInt64)
  /// There is no slot to take away.
  case nothingToDelete
  /// The slot's length, host address or read-only flag cannot change while it exists.
  case immutable
  /// Another slot holds one of the frames.
  case overlap(MemslotID)
  /// The last frame lies above the largest that the processor can express.
  case beyondMaximumFrame(GuestFrame)
  /// No memory for the slot's metadata.
  case noMemory

  /// The name of the error number with which KVM refuses.
  public var errnoName: StaticString {
    switch self {
    case .overlap: "EEXIST"
    case .noMemory: "ENOMEM"
    default: "EINVAL"
    }
  }
}
