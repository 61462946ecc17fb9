import Glibc

/// Where the guest's serial and debug output goes: a file descriptor, or a buffer.
public final class GuestConsole {
  private let descriptor: Int32?
  private var pending: [UInt8] = []
  /// What was written, when there is no file descriptor.
  public private(set) var captured: [UInt8] = []
  /// The number of bytes the guest wrote.
  public private(set) var byteCount: UInt64 = 0

  private static let batch = 4096
  private static let captureLimit = 64 << 20

  /// A console that writes to a file descriptor, line by line; without one it keeps the bytes.
  public init(descriptor: Int32? = nil) { self.descriptor = descriptor }

  /// One byte from the guest.
  func put(_ byte: UInt8) {
    byteCount += 1
    guard descriptor != nil else {
      if captured.count < Self.captureLimit { captured.append(byte) }
      return
    }
    pending.append(byte)
    if byte == 0x0A || pending.count >= Self.batch { flush() }
  }

  /// Writes what has not been written yet.
  public func flush() {
    guard let descriptor else { return }
    var start = 0
    while start < pending.count {
      // SAFETY: the slice lives for the call.
      let written = unsafe pending[start...].withUnsafeBytes { bytes in
        unsafe write(descriptor, bytes.baseAddress, bytes.count)
      }
      if written < 0 && errno == EINTR { continue }
      // Nobody reads any more: the guest goes on without being heard.
      guard written > 0 else { break }
      start += written
    }
    pending.removeAll(keepingCapacity: true)
  }
}
