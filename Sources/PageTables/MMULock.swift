public import MachineEvents
import Synchronization

/// The lock of a machine's tables: many readers or one writer (KVM: `mmu_lock`).
///
/// Direct faults read-lock and change entries by compare-and-exchange; everything else
/// write-locks. A waiting writer holds new readers back, so that faults cannot starve it.
public struct MMULock: ~Copyable, Sendable {
  private static let writer: UInt32 = 1 << 31
  private static let writerWaits: UInt32 = 1 << 30
  private let state = Atomic<UInt32>(0)
  private let interleaver: Interleaver

  /// A free lock.
  public init(interleaver: Interleaver) { self.interleaver = interleaver }

  /// Whether nobody holds either side or waits for it.
  public var isFree: Bool { state.load(ordering: .acquiring) == 0 }

  /// Waits for the reader side.
  public func lockShared() {
    while true {
      let seen = state.load(ordering: .relaxed)
      if seen & (Self.writer | Self.writerWaits) == 0 {
        let (exchanged, _) = state.compareExchange(
          expected: seen, desired: seen + 1, ordering: .acquiring)
        if exchanged { return interleaver.reach(.lockTaken) }
      } else {
        interleaver.reach(.waitingForLock)
      }
    }
  }

  /// Lets the reader side go.
  public func unlockShared() {
    state.subtract(1, ordering: .releasing)
    interleaver.reach(.lockReleased)
  }

  /// Waits for the writer side.
  public func lockExclusive() {
    while true {
      let seen = state.load(ordering: .relaxed)
      if seen & ~Self.writerWaits == 0 {
        let (exchanged, _) = state.compareExchange(
          expected: seen, desired: Self.writer, ordering: .acquiring)
        if exchanged { return interleaver.reach(.lockTaken) }
      } else {
        if seen & Self.writerWaits == 0 {
          state.bitwiseOr(Self.writerWaits, ordering: .relaxed)
        }
        interleaver.reach(.waitingForLock)
      }
    }
  }

  /// Lets the writer side go.
  public func unlockExclusive() {
    state.bitwiseAnd(~Self.writer, ordering: .releasing)
    interleaver.reach(.lockReleased)
  }
}

/// On which side of the MMU lock an entry is changed.
public enum Exclusivity: Hashable, Sendable {
  /// Among other readers: by compare-and-exchange only.
  case shared
  /// Alone: no other MMU code changes entries, processors still set accessed and dirty bits.
  case exclusive
}
