public import PagingUnits

/// A tracepoint of KVM's, as a value: what happened, in units, never in words.
///
/// Each case carries the fields of the kernel's record of the same name; `Reports` prints the
/// kernel's own text.
public enum MachineEvent: Hashable, Sendable {
  /// `kvm_page_fault`: an exit for a fault; the error code is the raw exit qualification under EPT
  /// and the exit's error code under NPT.
  case pageFault(vcpu: UInt32, rip: UInt64, address: UInt64, errorCode: UInt64)
  /// `kvm_mmu_spte_requested`: a fault is about to map `gfn`.
  case spteRequested(GuestFrame, HostFrame, Level)
  /// `kvm_mmu_set_spte`: a leaf entry was installed at `address`.
  case setSPTE(GuestFrame, spte: UInt64, Level, at: HostPhysical, SPTERights)
  /// `kvm_tdp_mmu_spte_changed`: an entry of a direct table changed.
  case tdpSPTEChanged(space: UInt8, GuestFrame, Level, old: UInt64, new: UInt64)
  /// `kvm_mmu_get_page`: a shadow page was found or made.
  case getPage(ShadowPageRecord, Creation)
  /// `kvm_mmu_prepare_zap_page`: a shadow page of the shadow MMU is about to go.
  case prepareZapPage(ShadowPageRecord)
  /// `kvm_mmu_sync_page`.
  case syncPage(ShadowPageRecord)
  /// `kvm_mmu_unsync_page`.
  case unsyncPage(ShadowPageRecord)
  /// `kvm_mmu_zap_all_fast`: every table became obsolete; the generation is the one before.
  case zapAllFast(generation: UInt8, usedPages: UInt32)
  /// `mark_mmio_spte`: an entry now says "device".
  case markMMIO(at: HostPhysical, GuestFrame, access: UInt32, generation: UInt32)
  /// `handle_mmio_page_fault`.
  case handleMMIO(address: UInt64, GuestFrame, access: UInt32)
  /// `check_mmio_spte`: a device entry's generation was compared with the machine's.
  case checkMMIO(spte: UInt64, machineGeneration: UInt32, entryGeneration: UInt32)
  /// `fast_page_fault`: a fault was looked at without a lock; `outcome` is KVM's `RET_PF_*`.
  case fastPageFault(
    vcpu: UInt32, address: UInt64, errorCode: UInt64, at: HostPhysical, old: UInt64, new: UInt64,
    outcome: UInt8)
  /// `kvm_mmu_split_huge_page`.
  case splitHugePage(GuestFrame, spte: UInt64, Level, errno: Int32)
  /// `kvm_mmu_pagetable_walk`: the MMU walks the guest's tables in software.
  case pagetableWalk(address: UInt64, errorCode: UInt32)
  /// `kvm_mmu_paging_element`: one guest entry of that walk.
  case pagingElement(entry: UInt64, depth: UInt32)
  /// `kvm_mmu_set_accessed_bit`: at the guest-physical address of the entry.
  case setAccessedBit(GuestPhysical)
  /// `kvm_mmu_set_dirty_bit`: at the guest-physical address of the entry.
  case setDirtyBit(GuestPhysical)
  /// `kvm_mmu_walker_error`.
  case walkerError(errorCode: UInt32)
  /// `kvm_mmio`: an access to a device's address.
  case mmio(MMIODirection, length: UInt32, GuestPhysical, value: UInt64)
  /// `kvm_inj_exception`: an exception is delivered to the guest.
  case injectException(vector: UInt8, errorCode: UInt32?)
  /// `kvm_unmap_hva_range`: a host notifier took a range away.
  case unmapRange(HostVirtual, HostVirtual)
  /// `kvm_age_hva`: a host notifier asked for, and cleared, the accessed bits of a range.
  case ageRange(HostVirtual, HostVirtual)
  /// `kvm_test_age_hva`: a host notifier asked for the accessed bit of a page.
  case testAge(HostVirtual)
  /// `kvm_exit`.
  case exit(vcpu: UInt32, ExitReason, rip: UInt64, info1: UInt64, info2: UInt64)
  /// `kvm_entry`.
  case entry(vcpu: UInt32, rip: UInt64)
  /// `kvm_cr`: a control register was written.
  case controlWrite(register: UInt8, value: UInt64)

  /// Whether a shadow page was made or found.
  public enum Creation: UInt8, Hashable, Sendable { case existing, new }

  /// Which way an MMIO access went (KVM: `KVM_TRACE_MMIO_*`).
  public enum MMIODirection: UInt8, Hashable, Sendable { case unsatisfiedRead, read, write }

  /// Why the guest's processor left the guest.
  public enum ExitReason: UInt8, Hashable, Sendable {
    /// Intel exit 48.
    case eptViolation
    /// Intel exit 49.
    case eptMisconfiguration
    /// AMD exit 0x400.
    case nestedPageFault
    /// HLT.
    case halt
    /// An I/O port.
    case io
    /// Intel exit 66.
    case subpageEvent
  }
}

/// The rights of a leaf entry as `kvm_mmu_set_spte` prints them (`rwxu`).
public struct SPTERights: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt8
  /// Wraps the bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// Readable.
  public static let read = SPTERights(rawValue: 1)
  /// Writable.
  public static let write = SPTERights(rawValue: 2)
  /// Executable.
  public static let execute = SPTERights(rawValue: 4)
  /// Reachable from user mode.
  public static let user = SPTERights(rawValue: 8)
}

/// A shadow page as its tracepoints print it.
public struct ShadowPageRecord: Hashable, Sendable {
  /// The generation it was made in (KVM: `mmu_valid_gen`).
  public var generation: UInt8
  /// The frame whose range, or whose table, it covers.
  public var frame: GuestFrame
  /// The role word, in the kernel's layout.
  public var role: UInt32
  /// How often it is in use as a root.
  public var rootCount: UInt32
  /// Whether it may differ from the guest's table.
  public var unsync: Bool

  /// A record of a shadow page at this moment.
  public init(
    generation: UInt8, frame: GuestFrame, role: UInt32, rootCount: UInt32, unsync: Bool
  ) {
    self.generation = generation
    self.frame = frame
    self.role = role
    self.rootCount = rootCount
    self.unsync = unsync
  }
}
