import Mutations
public import PagingUnits

/// A debt: processors may still hold translations of these frames that the tables no longer give.
///
/// Whoever changes an entry gets one and has to pay it before the change may be relied on: before
/// a frame or a table is used for something else, and before a notifier returns. Dropping a debt
/// traps. KVM threads a `bool flush` through its call chains instead.
public struct PendingFlush: ~Copyable {
  /// The first frame of the smallest range that holds everything owed.
  private var start: UInt64
  private var end: UInt64

  /// Nothing is owed yet.
  public init() {
    start = 0
    end = 0
  }

  /// A flush of the `level`-sized region at `frame` is owed.
  public init(_ frame: GuestFrame, _ level: Level) {
    start = frame.aligned(to: level).number
    end = start + level.frameCount
  }

  /// Whether anything is owed.
  public var isOwed: Bool { start != end }

  /// Adds a `level`-sized region to the debt.
  public mutating func owe(_ frame: GuestFrame, _ level: Level) {
    let first = frame.aligned(to: level).number
    start = isOwed ? min(start, first) : first
    end = max(end, first + level.frameCount)
  }

  /// Takes another debt over.
  public mutating func add(_ other: consuming PendingFlush) {
    if Mutation.flushFlagOverwritten.isActive { (start, end) = (0, 0) }
    if other.isOwed {
      start = isOwed ? min(start, other.start) : other.start
      end = max(end, other.end)
    }
    other.settle()
  }

  /// Takes another debt over and leaves the other without one.
  mutating func assume(_ other: inout PendingFlush) {
    if other.isOwed {
      start = isOwed ? min(start, other.start) : other.start
      end = max(end, other.end)
    }
    other.start = other.end
  }

  /// Pays: every processor forgets the frames before this returns.
  public consuming func pay(_ flusher: TranslationFlusher) {
    if isOwed { flusher.flush(GuestFrame(start)..<GuestFrame(end)) }
    settle()
  }

  /// Settles the debt without a flush of its own: something larger pays it, such as the load of a
  /// new root, or another debt that took it over.
  public consuming func settle() {
    // Not `discard self`, which Embedded Swift does not take here.
    end = start
  }

  deinit {
    precondition(start == end, "a flush was owed and never paid")
  }
}

/// Who makes processors forget translations: a value that every room copies.
///
/// A C function with a context, for the reason given in decision record 0002.
@safe public struct TranslationFlusher: @unchecked Sendable {
  /// Receives the context, the first frame and the number of frames.
  public typealias Hook = @convention(c) (UnsafeMutableRawPointer, UInt64, UInt64) -> Void

  private let context: UnsafeMutableRawPointer?
  private let hook: Hook?

  /// No processor exists, so nothing has to forget.
  public init() {
    // SAFETY: without a function nothing is ever called.
    unsafe context = nil
    unsafe hook = nil
  }

  /// Flushes through `hook`; `context` must outlive every copy.
  @unsafe public init(context: UnsafeMutableRawPointer, hook: Hook) {
    // SAFETY: the caller promises that the context outlives every copy.
    unsafe self.context = context
    unsafe self.hook = hook
  }

  /// Returns when no processor holds a translation of these frames any more.
  public func flush(_ frames: Range<GuestFrame>) {
    // SAFETY: both fields are only read here.
    guard let hook = unsafe hook, let context = unsafe context else { return }
    // SAFETY: whoever made the value keeps the context alive.
    unsafe hook(context, frames.lowerBound.number, frames.upperBound - frames.lowerBound)
  }
}
