import Synchronization

/// The smallest lock: whoever waits keeps looking.
///
/// It guards a few dozen instructions and is never held across a call that leaves the room, so that
/// nobody waits for long. It is not recursive.
public struct SpinLock: ~Copyable, Sendable {
  private let held = Atomic<UInt32>(0)

  /// A free lock.
  public init() {}

  /// Takes the lock, waiting for whoever has it.
  public func lock() {
    while held.exchange(1, ordering: .acquiring) != 0 {
      // Looking without writing keeps the cache line shared while somebody else works.
      while held.load(ordering: .relaxed) != 0 {}
    }
  }

  /// Takes the lock if it is free; whether it was.
  public func tryLock() -> Bool { held.exchange(1, ordering: .acquiring) == 0 }

  /// Gives the lock back; traps when nobody has it.
  public func unlock() {
    let old = held.exchange(0, ordering: .releasing)
    precondition(old == 1, "a lock is given back by whoever took it")
  }
}
