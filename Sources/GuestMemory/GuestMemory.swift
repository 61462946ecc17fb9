import HostMemory
public import PagingUnits
import Synchronization

/// The guest's physical memory: which frames lie where in the host process (KVM: the memslots of a
/// `struct kvm`).
///
/// There is one set of slots for each address space, kept twice: readers use the active one,
/// changes are prepared on the other, and a swap makes them visible. Layout changes through one
/// door only (`GuestMemory+Changes`), under the caller's memslot lock, and step by step, because
/// between the steps the machine waits for its readers.
///
/// Look-ups may be made by any thread inside a *reader section* (KVM:
/// `srcu_read_lock(&kvm->srcu)`): from before the look-up until its answers, and the cursors made
/// of it, are no longer used, the machine must be able to tell that a reader is there. They take no
/// lock.
@safe public struct GuestMemory: ~Copyable, @unchecked Sendable {
  /// The limits of a machine.
  public struct Options: Hashable, Sendable {
    /// The largest frame that a slot may hold (KVM: `kvm_mmu_max_gfn`): by default that of 52
    /// physical address bits.
    public var maximumFrame = GuestFrame((1 << 40) - 1)
    /// How many address spaces there are: 2, or 1 for a machine without system-management mode.
    public var addressSpaceCount: UInt64 = 2
    /// The most bytes that the slots' metadata may take.
    public var metadataByteLimit: UInt64 = 1 << 34
    /// 52 address bits, two address spaces, 16 GiB of metadata.
    public init() {}
  }

  /// The limits.
  public let options: Options
  /// How faults learn of the host's changes.
  public let invalidations = InvalidationSequence()
  let metadata: MemslotMetadataStore
  private let sets: UnsafeMutablePointer<MemslotSet>
  private let activeNormal = Atomic<Int>(0)
  private let activeSystemManagement = Atomic<Int>(0)

  /// No slots; the generation of an address space is its number (KVM: `kvm_create_vm`).
  public init(options: Options = Options()) {
    precondition(
      options.addressSpaceCount == 1 || options.addressSpaceCount == 2,
      "a machine has one or two address spaces")
    self.options = options
    metadata = MemslotMetadataStore(byteLimit: options.metadataByteLimit)
    // SAFETY: the sets are initialised just below and freed in `deinit`.
    unsafe sets = .allocate(capacity: 4)
    for index in 0..<4 {
      // SAFETY: four sets were allocated.
      unsafe (sets + index).initialize(to: MemslotSet(generation: UInt64(index / 2)))
    }
  }

  deinit {
    // SAFETY: four sets were initialised, and nobody can reach them any more.
    unsafe sets.deinitialize(count: 4)
    unsafe sets.deallocate()
  }

  // MARK: Sets

  private func activeHalf(_ space: AddressSpace) -> Int {
    switch space {
    case .normal: activeNormal.load(ordering: .acquiring)
    case .systemManagement: activeSystemManagement.load(ordering: .acquiring)
    }
  }

  /// Which of the four sets is active; stays valid for a reader until its section ends.
  func activeIndex(_ space: AddressSpace) -> Int {
    Int(space.rawValue) &* 2 &+ activeHalf(space)
  }

  func inactiveIndex(_ space: AddressSpace) -> Int {
    Int(space.rawValue) * 2 + (1 - activeHalf(space))
  }

  func swapSets(_ space: AddressSpace) {
    let half = 1 - activeHalf(space)
    switch space {
    case .normal: activeNormal.store(half, ordering: .sequentiallyConsistent)
    case .systemManagement: activeSystemManagement.store(half, ordering: .sequentiallyConsistent)
    }
  }

  /// One of the four sets.
  func set(_ index: Int) -> UnsafeMutablePointer<MemslotSet> {
    precondition(0 <= index && index < 4, "there are four sets")
    // SAFETY: the index was checked.
    return unsafe sets + index
  }

  // MARK: Looking up

  /// The slot that holds `frame` (KVM: `__gfn_to_memslot`).
  ///
  /// The hint remembers the slot last found; any hint gives the right answer, a good one sooner.
  /// The slot may be invalid or not visible: the caller asks it.
  public func slot(
    containing frame: GuestFrame, in space: AddressSpace, hint: inout SlotHint
  ) -> Memslot? {
    // SAFETY: the four sets live as long as the memory.
    unsafe sets[activeIndex(space)].slot(containing: frame, hint: &hint.row)
  }

  /// The slot that holds `frame`, without a hint.
  public func slot(containing frame: GuestFrame, in space: AddressSpace) -> Memslot? {
    var hint = SlotHint()
    return slot(containing: frame, in: space, hint: &hint)
  }

  /// The slot with a number (KVM: `id_to_memslot`).
  public func slot(_ id: MemslotID, in space: AddressSpace) -> Memslot? {
    // SAFETY: the four sets live as long as the memory.
    unsafe sets[activeIndex(space)].slot(id)
  }

  /// How many slots an address space has.
  public func slotCount(in space: AddressSpace) -> Int {
    // SAFETY: the four sets live as long as the memory.
    unsafe sets[activeIndex(space)].count
  }

  /// Whether the guest's processors and the user reach memory at `frame` (KVM:
  /// `kvm_is_visible_gfn`).
  public func isVisible(_ frame: GuestFrame, in space: AddressSpace) -> Bool {
    slot(containing: frame, in: space)?.isVisible ?? false
  }

  /// The generation of an address space's slots, with the in-progress bit (KVM:
  /// `kvm_memslots(kvm)->generation`).
  public func generation(of space: AddressSpace) -> MemslotGeneration {
    // SAFETY: the four sets live as long as the memory.
    MemslotGeneration(unsafe sets[activeIndex(space)].generation.load(ordering: .acquiring))
  }
}

/// Which slot a processor found last: its first guess next time (KVM: `last_used_slot`).
public struct SlotHint: Hashable, Sendable {
  var row: UInt16 = 0
  /// No slot was found yet.
  public init() {}
}

/// The number of a layout of the guest's memory; no two layouts of any address space share one
/// (KVM: `kvm_memslots.generation`).
public struct MemslotGeneration: Hashable, Sendable {
  /// KVM's word.
  public let raw: UInt64
  /// Wraps KVM's word.
  public init(_ raw: UInt64) { self.raw = raw }

  static let inProgress: UInt64 = 1 << 63

  /// Whether readers of the layout before may still be about (KVM:
  /// `KVM_MEMSLOT_GEN_UPDATE_IN_PROGRESS`, bit 63).
  public var isInProgress: Bool { raw & Self.inProgress != 0 }
}
