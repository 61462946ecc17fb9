import Glibc
import GuestProcessor
import Synchronization

/// Ends a run when its time is up.
///
/// A thread sleeps until then; the run itself never looks at a clock.
@safe final class Watchdog: @unchecked Sendable {
  // Sendable: everything but the atomic is set before the thread starts.
  private let isExpired = Atomic<Bool>(false)
  private let handle: StopHandle
  private let milliseconds: Int32
  private var wake: (reading: Int32, writing: Int32) = (-1, -1)
  private var thread = pthread_t()

  /// Whether the time was up.
  var expired: Bool { isExpired.load(ordering: .acquiring) }

  /// Watches a processor from now on; `nil` when the system has no thread to spare.
  init?(_ handle: StopHandle, seconds: Double) {
    self.handle = handle
    milliseconds = Int32(min(max(seconds * 1000, 0), Double(Int32.max / 2)))
    var ends: [Int32] = [-1, -1]
    // SAFETY: the array has room for the two descriptors.
    guard unsafe pipe(&ends) == 0 else { return nil }
    wake = (ends[0], ends[1])
    // SAFETY: the reference passed is taken back by the thread.
    let opaque = unsafe Unmanaged.passRetained(self).toOpaque()
    let failed = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        // SAFETY: the context is the reference that was passed.
        unsafe Unmanaged<Watchdog>.fromOpaque(context).takeRetainedValue().watch()
        return nil
      }, opaque)
    guard failed == 0 else {
      unsafe Unmanaged<Watchdog>.fromOpaque(opaque).release()
      return nil
    }
  }

  private func watch() {
    var wait = milliseconds
    while true {
      var request = pollfd(fd: wake.reading, events: Int16(POLLIN), revents: 0)
      // SAFETY: one request, which outlives the call.
      guard unsafe poll(&request, 1, wait) == 0 else { return }
      isExpired.store(true, ordering: .releasing)
      handle.stop()
      // Again, should the processor have been between two starts.
      wait = 10
    }
  }

  /// Ends the watch; waits for the thread.
  func finish() {
    close(wake.writing)
    pthread_join(thread, nil)
    close(wake.reading)
  }
}
