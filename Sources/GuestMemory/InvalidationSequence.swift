import HostMemory
public import MachineEvents
import Mutations
public import PagingUnits
import Synchronization

/// The moment at which a fault began to look at the host's mappings (KVM: `mmu_seq`).
public struct InvalidationMoment: Hashable, Sendable {
  let sequence: UInt64
}

/// How a fault learns that the host changed a page under it (KVM: `mmu_invalidate_seq` and its
/// companions).
///
/// A fault takes `moment`, looks the host page up without a lock, takes the MMU lock and asks
/// `mustRetry`. The host's side calls `begin`, `add` and `end` under the MMU lock (writer side).
/// The sequence counts for all frames: any invalidation that touched a slot and ended since the
/// moment makes the fault retry; the range only matters while one is in progress, and it is the
/// union of all that are, never shrunk until the last has ended.
public struct InvalidationSequence: ~Copyable, Sendable {
  private static var unknown: UInt64 { .max }
  private let sequence = Atomic<UInt64>(0)
  private let inProgress = Atomic<Int>(0)
  private let lowest = Atomic<UInt64>(InvalidationSequence.unknown)
  private let limit = Atomic<UInt64>(InvalidationSequence.unknown)
  /// Guards `notifiers` and the publication of memslots (KVM: `mn_invalidate_lock`).
  private let notifierLock = SpinLock()
  private let notifiers = Atomic<Int>(0)

  /// Nothing was invalidated yet.
  public init() {}

  // MARK: The fault's side

  /// The moment before the host page is looked up.
  public var moment: InvalidationMoment {
    let now = sequence.load(ordering: .acquiring)
    let isTruncated = Mutation.invalidateSeqTruncated.isActive
    let kept = UInt64(bitPattern: (Int64(truncatingIfNeeded: now) << 60) >> 60)
    return InvalidationMoment(sequence: isTruncated ? kept : now)
  }

  /// Whether a page looked up since `moment` for `frame` may have changed (KVM:
  /// `mmu_invalidate_retry_gfn`); with the MMU lock held, on either side.
  public func mustRetry(_ frame: GuestFrame, since moment: InvalidationMoment) -> Bool {
    if inProgress.load(ordering: .acquiring) != 0 {
      let low = lowest.load(ordering: .relaxed)
      let high = limit.load(ordering: .relaxed)
      // In progress with no range said yet: nothing may be assumed.
      if low == Self.unknown || high == Self.unknown { return true }
      if low <= frame.number && frame.number < high { return true }
    }
    return sequence.load(ordering: .acquiring) != moment.sequence
  }

  /// The same question without the lock, to give up early: a `false` must be asked again (KVM:
  /// `mmu_invalidate_retry_gfn_unsafe`).
  public func shouldRetryEarly(_ frame: GuestFrame, since moment: InvalidationMoment) -> Bool {
    if inProgress.load(ordering: .acquiring) != 0,
      lowest.load(ordering: .relaxed) <= frame.number,
      frame.number < limit.load(ordering: .relaxed)
    {
      return true
    }
    return sequence.load(ordering: .acquiring) != moment.sequence
  }

  // MARK: The host's side, with the MMU lock held as a writer

  /// An invalidation that touches a slot begins (KVM: `kvm_mmu_invalidate_begin`).
  public func begin() {
    if inProgress.add(1, ordering: .acquiringAndReleasing).newValue == 1 {
      lowest.store(Self.unknown, ordering: .relaxed)
      limit.store(Self.unknown, ordering: .relaxed)
    }
  }

  /// The invalidation covers `frames`, which joins the range in progress (KVM:
  /// `kvm_mmu_invalidate_range_add`).
  public func add(_ frames: Range<GuestFrame>) {
    precondition(isInProgress, "a range is added to an invalidation that has begun")
    if Mutation.zapRangeDoesNotBlockFaults.isActive {
      lowest.store(frames.lowerBound.number << 12, ordering: .relaxed)
      limit.store(frames.upperBound.number << 12, ordering: .relaxed)
      return
    }
    if Mutation.invalidationRangeReplaced.isActive {
      lowest.store(frames.lowerBound.number, ordering: .relaxed)
      limit.store(frames.upperBound.number, ordering: .relaxed)
      return
    }
    let low = lowest.load(ordering: .relaxed)
    let high = limit.load(ordering: .relaxed)
    if low == Self.unknown {
      lowest.store(frames.lowerBound.number, ordering: .relaxed)
      limit.store(frames.upperBound.number, ordering: .relaxed)
    } else {
      lowest.store(min(low, frames.lowerBound.number), ordering: .relaxed)
      limit.store(max(high, frames.upperBound.number), ordering: .relaxed)
    }
  }

  /// An invalidation that touched a slot has ended (KVM: `kvm_mmu_invalidate_end`).
  public func end(letting interleaver: Interleaver = Interleaver()) {
    // The sequence first: a fault that sees nothing in progress then sees the new sequence.
    let step: UInt64 = Mutation.sequenceNotAdvanced.isActive ? 0 : 1
    sequence.add(step, ordering: .acquiringAndReleasing)
    interleaver.reach(.betweenSequenceAndCount)
    let left = inProgress.subtract(1, ordering: .acquiringAndReleasing).newValue
    precondition(left >= 0, "an invalidation ends as often as it begins")
  }

  /// Whether an invalidation that touches a slot is in progress.
  public var isInProgress: Bool { inProgress.load(ordering: .acquiring) > 0 }

  // MARK: Notifiers and memslots

  /// A notifier has been called, whether or not it touches a slot; memslots stay as they are until
  /// its end (KVM: `mn_active_invalidate_count`).
  ///
  /// Waits while a set is being published.
  public func notifierBegan() {
    notifierLock.lock()
    notifiers.add(1, ordering: .relaxed)
    notifierLock.unlock()
  }

  /// The notifier's end has been worked through.
  public func notifierEnded() {
    notifierLock.lock()
    let left = notifiers.subtract(1, ordering: .relaxed).newValue
    notifierLock.unlock()
    precondition(left >= 0, "a notifier ends as often as it begins")
  }

  /// How many notifiers have begun and not ended.
  public var activeNotifiers: Int { notifiers.load(ordering: .relaxed) }

  /// Waits until no notifier is between its begin and its end, and keeps new ones from beginning
  /// until `memslotsPublished`.
  public func holdNotifiers(letting interleaver: Interleaver = Interleaver()) {
    while true {
      notifierLock.lock()
      if Mutation.notifiersNotHeld.isActive { return }
      if notifiers.load(ordering: .relaxed) == 0 { return }
      notifierLock.unlock()
      interleaver.reach(.waitingForLock)
    }
  }

  /// Lets notifiers begin again; whoever called `holdNotifiers` calls it.
  public func memslotsPublished() { notifierLock.unlock() }
}
