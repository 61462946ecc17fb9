public import HostMemory
import Mutations
public import PagingUnits

/// The number by which a memslot is asked for, unique in its address space.
public struct MemslotID: Hashable, Comparable, Sendable {
  /// The number, 0…32766.
  public let number: UInt16

  /// Names a slot; a number that no slot can have is refused when the slot is asked for.
  public init(_ number: UInt16) { self.number = number }

  /// How many ids a user may choose from (KVM: `KVM_USER_MEM_SLOTS`); ids above are the machine's.
  public static let userCount: UInt16 = 32764
  /// How many ids there are (KVM: `KVM_MEM_SLOTS_NUM`).
  public static let count: UInt16 = 32767
  /// The three pages of the task-state segment for real mode (KVM:
  /// `TSS_PRIVATE_MEMSLOT`).
  public static let taskStateSegment = MemslotID(32764)
  /// The page at which virtual APIC accesses are caught (KVM: `APIC_ACCESS_PAGE_PRIVATE_MEMSLOT`).
  public static let apicAccess = MemslotID(32765)
  /// The identity-mapped page table for real mode (KVM: `IDENTITY_PAGETABLE_PRIVATE_MEMSLOT`).
  public static let identityMap = MemslotID(32766)

  /// Orders slots by their number.
  public static func < (left: MemslotID, right: MemslotID) -> Bool { left.number < right.number }
}

/// What is asked of a memslot (KVM: `KVM_MEM_*`).
public struct MemslotFlags: OptionSet, Hashable, Sendable {
  /// KVM's bits.
  public let rawValue: UInt32
  /// Wraps KVM's bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Guest writes are logged (KVM: `KVM_MEM_LOG_DIRTY_PAGES`).
  public static let logDirty = MemslotFlags(rawValue: 1)
  /// The guest's writes are not made but handed to the user (KVM: `KVM_MEM_READONLY`).
  public static let readOnly = MemslotFlags(rawValue: 2)
  /// Private pages come from a file of the machine's own (KVM: `KVM_MEM_GUEST_MEMFD`).
  public static let guestMemfd = MemslotFlags(rawValue: 4)
}

/// Names the metadata of a slot: the same while the slot only changes its flags, another after it
/// moved (KVM: `kvm_arch_memory_slot`).
///
/// Rooms that keep something of their own for each slot use the number as a row, 0…65535.
public struct MemslotMetadataID: Hashable, Sendable {
  /// The number of the row.
  public let row: UInt32
}

/// A run of the guest's physical frames that lies at a run of the host process's addresses (KVM:
/// `kvm_memory_slot`).
public struct Memslot: Hashable, Sendable {
  /// The first frame.
  public internal(set) var baseFrame: GuestFrame
  /// The number of frames, 1…2^31 - 1.
  public internal(set) var frameCount: UInt64
  /// Where the first frame lies in the host process.
  public internal(set) var hostAddress: HostVirtual
  /// The metadata.
  public internal(set) var metadata: MemslotMetadataID
  /// What was asked of the slot.
  public internal(set) var flags: MemslotFlags
  /// The slot's number.
  public internal(set) var id: MemslotID
  /// The set of slots it belongs to.
  public internal(set) var addressSpace: AddressSpace
  /// Whether the slot is being taken away or moved: faults on it retry (KVM:
  /// `KVM_MEMSLOT_INVALID`).
  public internal(set) var isInvalid: Bool

  /// The frames.
  public var frames: Range<GuestFrame> { baseFrame..<(baseFrame + frameCount) }

  /// The host addresses.
  public var hostRange: Range<HostVirtual> {
    hostAddress..<(hostAddress + frameCount << 12)
  }

  /// Whether the frame lies in the slot.
  public func contains(_ frame: GuestFrame) -> Bool {
    if Mutation.slotReachesTooFar.isActive {
      return frame.number &- baseFrame.number <= frameCount
    }
    return frame.number &- baseFrame.number < frameCount
  }

  /// Whether guest writes are not made but handed to the user.
  public var isReadOnly: Bool { flags.contains(.readOnly) }

  /// Whether guest writes are logged.
  public var logsWrites: Bool { flags.contains(.logDirty) }

  /// Whether the guest's processors and the user may reach memory through the slot: it is no slot
  /// of the machine's own and not on its way out (KVM: `kvm_is_visible_memslot`).
  public var isVisible: Bool { id.number < MemslotID.userCount && !isInvalid }

  /// Where `frame` lies in the host process, whatever the slot permits; traps outside the slot
  /// (KVM: `__gfn_to_hva_memslot`).
  public func hostAddress(of frame: GuestFrame) -> HostVirtual {
    precondition(contains(frame), "a frame lies in the slot that is asked about it")
    return hostAddress + (frame - baseFrame) << 12
  }

  /// The frame that lies at `address`; traps outside the slot (KVM: `hva_to_gfn_memslot`).
  public func frame(at address: HostVirtual) -> GuestFrame {
    let distance = (address - hostAddress) >> 12
    precondition(distance < frameCount, "an address lies in the slot that is asked about it")
    return baseFrame + distance
  }
}

/// Where a guest frame lies in the host process, as far as an access may know (KVM:
/// `gfn_to_hva_memslot_prot`).
public enum HostAddressLookup: Hashable, Sendable {
  /// At this address.
  case address(HostVirtual)
  /// No slot holds the frame, or the slot is on its way out (KVM: `KVM_HVA_ERR_BAD`).
  case bad
  /// The access writes and the slot is read-only (KVM: `KVM_HVA_ERR_RO_BAD`).
  case readOnlyBad
}

extension Optional<Memslot> {
  /// Where `frame`, which lies in the slot if there is one, is in the host process.
  public func hostAddress(of frame: GuestFrame, for access: HostAccess) -> HostAddressLookup {
    guard let slot = self, !slot.isInvalid else { return .bad }
    if access == .write, slot.isReadOnly { return .readOnlyBad }
    return .address(slot.hostAddress(of: frame))
  }
}
