public import PagingUnits

/// What can happen to a machine in one step.
public enum Operation: Hashable, Sendable {
  /// The VMM creates, changes, moves or deletes (size 0) a memslot.
  case memslot(MemslotChange)
  /// The VMM writes guest memory behind the MMU's back.
  case write(GuestPhysical, GuestBytes)
  /// The VMM reads guest memory.
  case read(GuestPhysical, GuestBytes.Shape)
  /// A processor's registers change.
  case registers(RegisterChange)
  /// A processor accesses memory.
  case access(AccessStep)
  /// MOV to CR3; `keepsTranslations` is bit 63 of the value under CR4.PCIDE.
  case loadCR3(processor: Int, value: UInt64, keepsTranslations: Bool)
  /// INVLPG.
  case invalidatePage(processor: Int, GuestVirtual)
  /// INVPCID, type 0…3.
  case invalidateContext(processor: Int, type: Int, pcid: UInt16, GuestVirtual)
  /// The host does something to the pages behind a guest-physical range.
  case host(HostAction, GuestPhysical, byteCount: UInt64)
  /// Every table becomes obsolete.
  case zapAll
  /// The oldest shadow pages are reclaimed, so many.
  case trim(Int)
  /// A processor's hardware forgets everything, as it may at any time.
  case evict(processor: Int)
  /// The host refuses allocations from now on.
  case refuse(Refusal)
  /// Statistics are looked at.
  case counters(processor: Int)
  /// The tracepoints since the last such step are looked at.
  case tracepoints
  /// An entry of ours is looked at.
  case tableEntry(GuestPhysical, Level?, AddressSpace)
  /// An entry of the shadow tables that a processor walks for a linear address is looked at.
  case shadowEntry(processor: Int, GuestVirtual, Level?)
  /// An entry of the sub-page-permission tables is looked at.
  case subpageEntry(GuestPhysical, Level?, AddressSpace)
  /// Something is asked of sub-page protection.
  case subpage(SubpageStep)
  /// A processor's TLB is looked at.
  case processorTLB(processor: Int, GuestVirtual)
  /// Every invariant, and the reference, are consulted.
  case check
  /// Several sequences of steps run interleaved, one thread at a time.
  case interleave(Interleaving)
}

/// What is asked of a memslot.
public struct MemslotChange: Hashable, Sendable {
  /// The slot's number.
  public var id: UInt16
  /// Where it starts in guest-physical memory.
  public var address: GuestPhysical
  /// Its length in bytes; 0 deletes it.
  public var byteCount: UInt64
  /// Guest writes are left to the VMM.
  public var isReadOnly = false
  /// Guest writes are logged.
  public var logsWrites = false
  /// What the host process has there, when the slot is made.
  public var backing = SlotBacking.anonymous
  /// The set of slots.
  public var space = AddressSpace.normal
  /// A slot whose host memory this one shares, when it is made.
  public var sharing: UInt16?
  /// How many bytes the host address is moved away from where large pages would fit.
  public var hostOffset: UInt64 = 0

  /// A plain slot.
  public init(id: UInt16, at address: GuestPhysical, byteCount: UInt64) {
    self.id = id
    self.address = address
    self.byteCount = byteCount
  }
}

/// What the host process has behind a slot.
public enum SlotBacking: String, Hashable, Sendable, CaseIterable {
  /// Private memory in 4 KiB pages.
  case anonymous
  /// Private memory in pages of up to 2 MiB, as transparent huge pages are.
  case transparent2M = "transparent-2m"
  /// Private memory in pages of up to 1 GiB.
  case transparent1G = "transparent-1g"
  /// A shared file.
  case file
  /// The frames of a device.
  case device
  /// Shared 2 MiB pages that never split.
  case huge2M = "huge-2m"
  /// Shared 1 GiB pages that never split.
  case huge1G = "huge-1g"
}

/// Bytes that a VMM writes, and how they were written down.
public struct GuestBytes: Hashable, Sendable {
  /// How bytes are written down.
  public enum Shape: Hashable, Sendable {
    /// 8-byte words, lowest byte first.
    case words64(count: Int)
    /// 4-byte words, lowest byte first.
    case words32(count: Int)
    /// Single bytes.
    case bytes(count: Int)

    /// How many bytes they are.
    public var byteCount: Int {
      switch self {
      case .words64(let count): 8 * count
      case .words32(let count): 4 * count
      case .bytes(let count): count
      }
    }
  }

  /// The bytes.
  public var bytes: [UInt8]
  /// How they were written down.
  public var shape: Shape

  /// Bytes in a shape that has as many.
  public init(_ bytes: [UInt8], _ shape: Shape) {
    self.bytes = bytes
    self.shape = shape
  }

  /// 8-byte words.
  public init(words: [UInt64]) {
    bytes = words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
    shape = .words64(count: words.count)
  }
}

/// Registers that change; what is `nil` stays.
///
/// One control register alone is written as its instruction would, with its refusals and flushes;
/// several together replace the state as a whole, as a VMM does (KVM: `KVM_SET_SREGS`).
public struct RegisterChange: Hashable, Sendable {
  /// The processor.
  public var processor = 0
  /// CR0.
  public var cr0: UInt64?
  /// CR2.
  public var cr2: UInt64?
  /// CR3.
  public var cr3: UInt64?
  /// CR4.
  public var cr4: UInt64?
  /// IA32_EFER.
  public var efer: UInt64?
  /// PKRU.
  public var pkru: UInt64?
  /// IA32_PAT.
  public var pat: UInt64?
  /// The privilege level that accesses have when they say none.
  public var privilegeLevel: UInt8?
  /// EFLAGS.AC.
  public var alignmentCheck: Bool?
  /// Which memslots the processor goes by.
  public var space: AddressSpace?

  /// Nothing changes.
  public init(processor: Int = 0) { self.processor = processor }
}

/// An access of a processor.
public struct AccessStep: Hashable, Sendable {
  /// The processor.
  public var processor = 0
  /// What it does.
  public var kind = AccessKind.read
  /// Where.
  public var address: Address
  /// How many bytes, 1…4096.
  public var byteCount = 8
  /// The privilege level, 0…3; `nil` for the processor's own.
  public var privilegeLevel: UInt8?
  /// Whether the processor makes it by itself, for a descriptor table or a task state segment.
  public var isImplicit = false
  /// Whether the hypervisor performs it for the guest.
  public var isEmulated = false
  /// What a write writes, lowest byte first; at most 8 bytes are told apart.
  public var value: UInt64?

  /// Where an access goes.
  public enum Address: Hashable, Sendable {
    /// Through the guest's tables.
    case virtual(GuestVirtual)
    /// Past them.
    case physical(GuestPhysical)
  }

  /// An 8-byte read of processor 0.
  public init(_ kind: AccessKind = .read, at address: Address) {
    self.kind = kind
    self.address = address
  }
}

/// What the host does to pages.
public enum HostAction: String, Hashable, Sendable, CaseIterable {
  /// The pages go to swap; their content comes back at the next access.
  case swapOut = "swap-out"
  /// The pages come back from swap.
  case swapIn = "swap-in"
  /// The pages move to other frames, content kept.
  case migrate
  /// The pages are dropped; the next access gets new ones (Linux: `MADV_DONTNEED`).
  case unmap
  /// The entries lose the write right until the next write.
  case writeProtect = "write-protect"
  /// The pages are shared with a fork, so that the next write copies them.
  case copyOnWrite = "copy-on-write"
  /// Pages of equal content become one.
  case merge
  /// Small pages become a large one.
  case collapse
  /// A large page becomes small ones.
  case split
  /// Asks which pages were used, forgetting it.
  case age
  /// Asks which pages were used.
  case testAge = "test-age"
  /// The pages' memory is found damaged.
  case poison
  /// The process forbids itself to write the pages (Linux: `mprotect`).
  case protectReadOnly = "protect-read-only"
  /// The process forbids itself every access to the pages.
  case protectNone = "protect-none"
  /// The process permits itself every access again.
  case protectReadWrite = "protect-read-write"
}

/// Which allocations the host refuses from now on, counted from 1.
public enum Refusal: Hashable, Sendable {
  /// None.
  case never
  /// The one with this number.
  case once(UInt64)
  /// The one with this number and all after it.
  case from(UInt64)
  /// Each whose number is a multiple of this.
  case every(UInt64)
}

/// Sequences of steps that run interleaved.
public struct Interleaving: Hashable, Sendable {
  /// Who runs next, at each point where control can change hands.
  public enum Order: Hashable, Sendable {
    /// By a seed.
    case seed(UInt64)
    /// By this list of sequence numbers, one a decision; behind its end the lowest runs on.
    case schedule([Int])
  }

  /// Who runs next.
  public var order: Order
  /// The sequences.
  public var together: [[Step]]

  /// An interleaving in full.
  public init(_ order: Order, together: [[Step]]) {
    self.order = order
    self.together = together
  }
}
