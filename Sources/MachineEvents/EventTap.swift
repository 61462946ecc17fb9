/// Where tracepoints go, if anywhere: a value that every room copies.
///
/// With nobody listening, a tracepoint costs one predictable branch and the event is not even
/// built. The sink is a C function with a context, so that the value holds no reference and the
/// fault path counts none (decision record 0002).
@safe public struct EventTap: @unchecked Sendable {
  /// Receives the context and a pointer to one `MachineEvent`, valid for the call only.
  public typealias Sink = @convention(c) (UnsafeMutableRawPointer, UnsafeRawPointer) -> Void

  // Internal, so that the generic-free but autoclosure-taking `record` can be inlined everywhere.
  // SAFETY: used together with `sink`, as whoever made the tap promised.
  @usableFromInline let context: UnsafeMutableRawPointer?
  @usableFromInline let sink: Sink?

  /// A tap that nobody listens to.
  public init() {
    // SAFETY: without a function nothing is ever called.
    unsafe context = nil
    unsafe sink = nil
  }

  /// A tap that hands each event to `sink`; `context` must outlive every copy of the tap.
  @unsafe public init(context: UnsafeMutableRawPointer, sink: Sink) {
    // SAFETY: the caller promises that the context outlives every copy.
    unsafe self.context = context
    unsafe self.sink = sink
  }

  /// Hands the event to the listener; without one, the event is never built.
  ///
  /// `@inlinable`, because building the closure's event unseen would cost more than the branch.
  @inlinable @inline(__always)
  public func record(_ event: @autoclosure () -> MachineEvent) {
    // SAFETY: both fields are only read here.
    guard let sink = unsafe sink, let context = unsafe context else { return }
    // SAFETY: whoever made the tap keeps the context alive; the pointer lives for the call.
    unsafe withUnsafePointer(to: event()) { pointer in
      unsafe sink(context, UnsafeRawPointer(pointer))
    }
  }
}
