import Glibc
import MachineEvents
import Reports

/// A file that takes tracepoints as they happen, in KVM's own text.
///
/// Time is the number of tracepoints so far, as microseconds: the machine has no clock, and the
/// same run gives the same file.
final class EventFile {
  private let name: String
  private let descriptor: Int32
  private let text: TracepointText
  private var buffer = TextBuffer(capacity: 1 << 17)
  private var prefix = TracepointPrefix()
  private var problem: String?

  /// Creates or empties the file `name`.
  init(_ name: String, _ vendor: TracepointText.Vendor) throws {
    self.name = name
    text = TracepointText(vendor)
    // SAFETY: the name is passed as a terminated string for the length of the call.
    descriptor = unsafe open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Failure("--events \(name): \(Failure.systemError)") }
  }

  deinit { close(descriptor) }

  /// The tap that writes to this file, which has to outlive it.
  var tap: EventTap {
    // SAFETY: the file outlives the run that the tap is given to.
    unsafe EventTap(context: Unmanaged.passUnretained(self).toOpaque()) { context, event in
      let file = unsafe Unmanaged<EventFile>.fromOpaque(context).takeUnretainedValue()
      unsafe file.record(event.load(as: MachineEvent.self))
    }
  }

  private func record(_ event: MachineEvent) {
    prefix.microseconds += 1
    text.writeLine(event, at: prefix, to: &buffer)
    if buffer.count >= 1 << 16 { flush() }
  }

  private func flush() {
    unsafe buffer.withBytes { bytes in
      var done = 0
      while done < bytes.count {
        // SAFETY: the range lies in the buffer.
        let part = unsafe UnsafeRawBufferPointer(rebasing: bytes[done...])
        let count = unsafe write(descriptor, part.baseAddress, part.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else {
          problem = problem ?? Failure.systemError
          return
        }
        done += count
      }
    }
    buffer.removeAll()
  }

  /// Writes what is left; throws if anything could not be written.
  func finish() throws {
    flush()
    if let problem { throw Failure("--events \(name): \(problem)") }
  }
}
