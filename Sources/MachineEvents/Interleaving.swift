/// The named places where another processor or the host can intervene.
///
/// In simulation each of them hands control to a seeded scheduler; otherwise it costs one
/// predictable branch (decision record 0002).
public enum InterleavingPoint: UInt8, Hashable, Sendable, CaseIterable {
  /// The invalidation sequence was read; the host page is not looked up yet.
  case beforeHostLookup
  /// The host page is known; the MMU lock is not taken yet.
  case beforeMMULock
  /// A lock is held by somebody else.
  case waitingForLock
  /// An entry was read; the compare-and-exchange has not happened yet.
  case beforeEntryExchange
  /// An entry is frozen; the flush has not happened yet.
  case beforeFrozenFlush
  /// A writer works through many entries and could let others in.
  case betweenEntries
  /// A memslot change is prepared but not visible yet.
  case beforeMemslotCommit
  /// A notifier has begun and not ended.
  case insideInvalidation
  /// A flush was requested from another processor and not yet seen there.
  case beforeRemoteFlush
}

/// Who is let in at an interleaving point, if anybody: a value that every room copies.
@safe public struct Interleaver: @unchecked Sendable {
  /// Receives the context and the raw value of an `InterleavingPoint`.
  public typealias Hook = @convention(c) (UnsafeMutableRawPointer, UInt8) -> Void

  private let context: UnsafeMutableRawPointer?
  private let hook: Hook?

  /// Nobody is let in.
  public init() {
    // SAFETY: without a function nothing is ever called.
    unsafe context = nil
    unsafe hook = nil
  }

  /// Hands control to `hook` at every point; `context` must outlive every copy.
  @unsafe public init(context: UnsafeMutableRawPointer, hook: Hook) {
    // SAFETY: the caller promises that the context outlives every copy.
    unsafe self.context = context
    unsafe self.hook = hook
  }

  /// Lets others in, if anybody listens.
  @inline(__always) public func reach(_ point: InterleavingPoint) {
    // SAFETY: both fields are only read here.
    guard let hook = unsafe hook, let context = unsafe context else { return }
    // SAFETY: whoever made the value keeps the context alive.
    unsafe hook(context, point.rawValue)
  }
}
