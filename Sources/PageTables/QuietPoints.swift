public import MachineEvents
import Synchronization

/// Tells when everybody who could still see something has looked away (KVM uses RCU and SRCU).
///
/// Time is a counter. Whoever is about to read tables or memslots without a lock notes the time at
/// which the look began; a thing taken out of sight at time *t* may be reused once nobody's look
/// began at or before *t*.
@safe public struct QuietPoints: ~Copyable, @unchecked Sendable {
  private let clock = Atomic<UInt64>(1)
  private let began: UnsafeMutablePointer<Atomic<UInt64>>
  /// The number of readers with numbers of their own, from 0.
  public let readerCount: Int
  /// How many visitors may look at a time.
  private static let visitorCount = 16

  /// Nobody looks at anything yet; at most `readerCount` readers exist, 1…4096.
  public init(readerCount: Int) {
    precondition(1...4096 ~= readerCount, "a machine has 1 to 4096 readers")
    self.readerCount = readerCount
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe began = .allocate(capacity: readerCount + Self.visitorCount)
    for index in 0..<readerCount + Self.visitorCount {
      // SAFETY: the index lies inside the allocation.
      unsafe (began + index).initialize(to: Atomic(0))
    }
  }

  deinit { unsafe began.deallocate() }

  private func slot(_ reader: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
    precondition(
      0 <= reader && reader < readerCount + Self.visitorCount, "a reader has a number of its own")
    // SAFETY: the index was checked.
    return unsafe began + reader
  }

  /// A reader starts to look; looks of one reader do not nest.
  public func enter(_ reader: Int) {
    // Sequentially consistent: the note must be visible before anything is read.
    // SAFETY: `slot` is in bounds.
    let before = unsafe slot(reader).pointee.exchange(
      clock.load(ordering: .relaxed), ordering: .sequentiallyConsistent)
    precondition(before == 0, "a reader looks once at a time")
  }

  /// Somebody without a number of its own starts to look, such as a thread of the host's.
  ///
  /// - Returns: the number with which to `leave`.
  public func enterAsVisitor(letting interleaver: Interleaver) -> Int {
    while true {
      for visitor in readerCount..<readerCount + Self.visitorCount {
        // SAFETY: `slot` is in bounds.
        let (entered, _) = unsafe slot(visitor).pointee.compareExchange(
          expected: 0, desired: clock.load(ordering: .relaxed),
          ordering: .sequentiallyConsistent)
        if entered { return visitor }
      }
      interleaver.reach(.waitingForLock)
    }
  }

  /// A reader looks away: it keeps nothing of what it saw.
  public func leave(_ reader: Int) {
    // SAFETY: `slot` is in bounds.
    unsafe slot(reader).pointee.store(0, ordering: .releasing)
  }

  /// Stamps something that was just taken out of sight.
  public func stamp() -> UInt64 { clock.wrappingAdd(1, ordering: .sequentiallyConsistent).oldValue }

  /// Whether no reader is looking at anything now.
  public var isQuiet: Bool {
    for reader in 0..<readerCount + Self.visitorCount {
      // SAFETY: `slot` is in bounds.
      if unsafe slot(reader).pointee.load(ordering: .sequentiallyConsistent) != 0 { return false }
    }
    return true
  }

  /// Whether nobody can still see what was stamped so.
  public func hasPassed(_ stamp: UInt64) -> Bool {
    for reader in 0..<readerCount + Self.visitorCount {
      // SAFETY: `slot` is in bounds.
      let began = unsafe slot(reader).pointee.load(ordering: .sequentiallyConsistent)
      if began != 0 && began <= stamp { return false }
    }
    return true
  }
}
