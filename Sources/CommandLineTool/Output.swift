import Glibc
import Reports

/// Standard output behind a buffer.
struct Output: ~Copyable {
  /// What is still to be written.
  var text = TextBuffer(capacity: 1 << 17)

  /// Writes the buffer when it is large enough to be worth a call.
  @inline(__always) mutating func flushIfLarge() throws {
    if text.count >= 1 << 16 { try flush() }
  }

  /// Writes everything.
  mutating func flush() throws {
    // SAFETY: the bytes are used inside the call only.
    let problem: Failure? = unsafe text.withBytes { bytes in
      var written = 0
      while written < bytes.count {
        // SAFETY: the range lies in the buffer.
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[written...])
        let count = unsafe write(1, rest.baseAddress, rest.count)
        if count > 0 {
          written += count
        } else if errno == EPIPE {
          return Failure("", .readerLeft)
        } else if errno != EINTR {
          return Failure("standard output: \(Failure.systemError)")
        }
      }
      return nil
    }
    text.removeAll()
    if let problem { throw problem }
  }
}
