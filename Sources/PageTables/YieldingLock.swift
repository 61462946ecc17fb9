public import MachineEvents
import Synchronization

/// A lock for the few steps that only one thread may take at a time.
///
/// It spins, as KVM's own spinlocks do: the core has no operating system to sleep in. While it
/// waits it lets others in, so that a one-threaded simulation cannot deadlock on it; a lock that is
/// held across interleaving points also lets others in when it is taken and let go.
public struct YieldingLock: ~Copyable, Sendable {
  private let held = Atomic<Bool>(false)
  private let interleaver: Interleaver
  private let changes: Changes

  /// Whether taking the lock and letting it go are interleaving points.
  public enum Changes: Hashable, Sendable {
    /// They are.
    case announced
    /// They are not: no point lies inside, so that nobody ever finds the lock held.
    case quiet
  }

  /// A free lock.
  public init(interleaver: Interleaver, changes: Changes = .announced) {
    self.interleaver = interleaver
    self.changes = changes
  }

  /// Runs `body` alone.
  @inline(__always)
  func withLock<Result: ~Copyable>(_ body: () -> Result) -> Result {
    lock()
    defer { unlock() }
    return body()
  }

  /// Waits until the lock is free and takes it.
  public func lock() {
    while held.exchange(true, ordering: .acquiring) {
      while held.load(ordering: .relaxed) { interleaver.reach(.waitingForLock) }
    }
    if changes == .announced { interleaver.reach(.lockTaken) }
  }

  /// Lets the lock go.
  public func unlock() {
    held.store(false, ordering: .releasing)
    if changes == .announced { interleaver.reach(.lockReleased) }
  }
}
