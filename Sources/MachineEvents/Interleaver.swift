/// Who is let in at an interleaving point, if anybody: a value that every room copies.
///
/// Two questions are asked of whoever listens: others may come in (`reach`), and an exchange may be
/// declared lost although nobody else was faster (`loses`).
@safe public struct Interleaver: @unchecked Sendable {
  /// Receives the context, the raw value of an `InterleavingPoint`, and the number that the point
  /// is about: a frame, an address, a count; 0 where there is none.
  public typealias Hook = @convention(c) (UnsafeMutableRawPointer, UInt8, UInt64) -> Void
  /// Receives the same; whether the exchange at hand is to be lost without a reason.
  public typealias LossHook = @convention(c) (UnsafeMutableRawPointer, UInt8, UInt64) -> Bool

  private let context: UnsafeMutableRawPointer?
  private let hook: Hook?
  private let loss: LossHook?

  /// Nobody is let in.
  public init() {
    // SAFETY: without a function nothing is ever called.
    unsafe context = nil
    unsafe hook = nil
    unsafe loss = nil
  }

  /// Hands control to `hook` at every point, and asks `loss`, if given, at every exchange;
  /// `context` must outlive every copy.
  @unsafe public init(
    context: UnsafeMutableRawPointer, hook: Hook, loss: LossHook? = nil
  ) {
    // SAFETY: the caller promises that the context outlives every copy.
    unsafe self.context = context
    unsafe self.hook = hook
    unsafe self.loss = loss
  }

  /// Lets others in, if anybody listens.
  @inline(__always) public func reach(_ point: InterleavingPoint, _ number: UInt64 = 0) {
    // SAFETY: both fields are only read here.
    guard let hook = unsafe hook, let context = unsafe context else { return }
    // SAFETY: whoever made the value keeps the context alive.
    unsafe hook(context, point.rawValue, number)
  }

  /// Whether the compare-and-exchange at hand is lost without a reason.
  ///
  /// Hardware never does so, but any loss could have had a reason: whoever can lose to another
  /// processor must be able to lose to nobody.
  @inline(__always) public func loses(_ point: InterleavingPoint, _ number: UInt64 = 0) -> Bool {
    // SAFETY: both fields are only read here.
    guard let loss = unsafe loss, let context = unsafe context else { return false }
    // SAFETY: whoever made the value keeps the context alive.
    return unsafe loss(context, point.rawValue, number)
  }
}
