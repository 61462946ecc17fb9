import Synchronization

/// A way to stop a processor from any thread.
@safe public final class StopHandle: @unchecked Sendable {
  // Sendable: the flag is atomic, and the library allows its stop call from any thread.
  private let flag = Atomic<Bool>(false)
  private let engine: Engine

  init(_ engine: Engine) { self.engine = engine }

  /// Stops the run soon.
  ///
  /// A call that comes just before the engine starts can be lost to the engine,
  /// not to the next look at the flag, so whoever waits repeats it.
  public func stop() {
    flag.store(true, ordering: .releasing)
    engine.stop()
  }

  /// Whether a stop was asked for and not seen yet.
  var isRequested: Bool { flag.load(ordering: .acquiring) }

  /// Whether a stop was asked for; asking clears it.
  func take() -> Bool { flag.exchange(false, ordering: .acquiringAndReleasing) }
}
