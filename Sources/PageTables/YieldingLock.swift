public import MachineEvents
import Synchronization

/// A lock for the few steps that only one thread may take at a time.
///
/// It spins, as KVM's own spinlocks do: the core has no operating system to sleep in. While it
/// waits it lets others in, so that a one-threaded simulation cannot deadlock on it.
public struct YieldingLock: ~Copyable, Sendable {
  private let held = Atomic<Bool>(false)
  private let interleaver: Interleaver

  /// A free lock.
  public init(interleaver: Interleaver) { self.interleaver = interleaver }

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
  }

  /// Lets the lock go.
  public func unlock() { held.store(false, ordering: .releasing) }
}
