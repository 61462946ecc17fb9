import MachineEvents
import Mutations
import PagingUnits
import Synchronization

/// What a processor has to do before it enters the guest again (KVM: `KVM_REQ_*`).
struct ProcessorRequests: OptionSet, Sendable {
  let rawValue: UInt32
  /// Forget every translation (KVM: `KVM_REQ_TLB_FLUSH`).
  static let flush = ProcessorRequests(rawValue: 1)
  /// Give obsolete roots back (KVM: `KVM_REQ_MMU_FREE_OBSOLETE_ROOTS`).
  static let freeObsoleteRoots = ProcessorRequests(rawValue: 2)
  /// Load every root again (KVM: `KVM_REQ_LOAD_MMU_PGD`).
  static let reloadRoots = ProcessorRequests(rawValue: 4)
}

/// The board on which processors read what is asked of them, and say whether they are in the
/// guest (KVM: `vcpu->requests` and `vcpu->mode`).
///
/// The pairing is KVM's: whoever asks writes the request and then reads the mode; the processor
/// writes its mode and then reads the requests. So either the processor sees the request before it
/// walks, or whoever asks waits until it has come out.
@safe struct ProcessorBoard: ~Copyable, @unchecked Sendable {
  private let slots: UnsafeMutablePointer<Slot>
  let count: Int
  private let interleaver: Interleaver
  /// Remote flushes asked for.
  let flushRequests = Atomic<Int64>(0)
  /// Remote flushes that had to reach a processor.
  let flushes = Atomic<Int64>(0)

  private struct Slot: ~Copyable {
    let requests = Atomic<UInt32>(0)
    let isInGuest = Atomic<Bool>(false)
    /// Whether an outside processor, which caches translations of its own, has to forget them.
    let outsideMustForget = Atomic<Bool>(false)
  }

  init(count: Int, interleaver: Interleaver) {
    self.count = count
    self.interleaver = interleaver
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe slots = .allocate(capacity: count)
    for index in 0..<count {
      // SAFETY: the index lies inside the allocation.
      unsafe (slots + index).initialize(to: Slot())
    }
  }

  deinit { unsafe slots.deallocate() }

  private func slot(_ processor: Int) -> UnsafeMutablePointer<Slot> {
    precondition(0 <= processor && processor < count, "a machine numbers its processors from 0")
    // SAFETY: the index was checked.
    return unsafe slots + processor
  }

  /// Enters the guest, unless something is asked: then the processor stays out.
  func enterGuest(_ processor: Int) -> Bool {
    let slot = unsafe slot(processor)
    // SAFETY: `slot` is in bounds.
    unsafe slot.pointee.isInGuest.store(true, ordering: .sequentiallyConsistent)
    interleaver.reach(.enteringGuest, UInt64(processor))
    if unsafe slot.pointee.requests.load(ordering: .sequentiallyConsistent) == 0 { return true }
    unsafe slot.pointee.isInGuest.store(false, ordering: .releasing)
    return false
  }

  /// Leaves the guest.
  func leaveGuest(_ processor: Int) {
    // SAFETY: `slot` is in bounds.
    unsafe slot(processor).pointee.isInGuest.store(false, ordering: .releasing)
  }

  /// Whether anything is asked of a processor.
  func hasRequests(_ processor: Int) -> Bool {
    // SAFETY: `slot` is in bounds.
    unsafe slot(processor).pointee.requests.load(ordering: .acquiring) != 0
  }

  /// Takes everything that is asked of a processor.
  func takeRequests(_ processor: Int) -> ProcessorRequests {
    // SAFETY: `slot` is in bounds.
    ProcessorRequests(
      rawValue: unsafe slot(processor).pointee.requests.exchange(
        0, ordering: .acquiringAndReleasing))
  }

  /// Asks something of one processor, by itself.
  func request(_ request: ProcessorRequests, of processor: Int) {
    // SAFETY: `slot` is in bounds.
    unsafe slot(processor).pointee.requests.bitwiseOr(
      request.rawValue, ordering: .sequentiallyConsistent)
  }

  /// Asks something of every processor; returns when none of them is in the guest without having
  /// seen it.
  ///
  /// It tells whether any had to be waited for.
  @discardableResult func requestOfAll(_ request: ProcessorRequests) -> Bool {
    let isShort = Mutation.flushMissesLastProcessor.isActive && request == .flush
    for processor in 0..<(isShort ? count - 1 : count) { self.request(request, of: processor) }
    interleaver.reach(.requestsPosted)
    var hadToWait = false
    for processor in 0..<count {
      // SAFETY: `slot` is in bounds.
      while unsafe slot(processor).pointee.isInGuest.load(ordering: .sequentiallyConsistent) {
        hadToWait = true
        interleaver.reach(.beforeRemoteFlush)
      }
    }
    return hadToWait
  }

  /// A remote flush (KVM: `kvm_flush_remote_tlbs`).
  func flushAll() {
    interleaver.reach(.beforeFlush)
    flushRequests.wrappingAdd(1, ordering: .relaxed)
    for processor in 0..<count { requestOutsideFlush(processor) }
    if requestOfAll(.flush) { flushes.wrappingAdd(1, ordering: .relaxed) }
  }

  /// Has a processor outside forget its translations before it goes on.
  func requestOutsideFlush(_ processor: Int) {
    // SAFETY: `slot` is in bounds.
    unsafe slot(processor).pointee.outsideMustForget.store(true, ordering: .releasing)
  }

  /// Whether an outside processor has to forget its translations; asking clears it.
  func takeOutsideFlush(_ processor: Int) -> Bool {
    // SAFETY: `slot` is in bounds.
    unsafe slot(processor).pointee.outsideMustForget.load(ordering: .acquiring)
      && slot(processor).pointee.outsideMustForget.exchange(
        false, ordering: .acquiringAndReleasing)
  }
}
