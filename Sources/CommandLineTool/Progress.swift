import Glibc

/// A count on standard error that changes while long work goes on, when that is a terminal.
struct Progress {
  private let unit: String
  private let isShown = isatty(2) == 1
  private var count: UInt64 = 0
  private var nextSecond: Int
  private var wasWritten = false

  /// Counts in `unit`; nothing is shown in the first second.
  init(_ unit: String) {
    self.unit = unit
    nextSecond = Self.now() + 2
  }

  private static func now() -> Int {
    var time = timespec()
    // SAFETY: the structure is the callee's to fill.
    unsafe _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec
  }

  /// Counts one more.
  @inline(__always) mutating func step() {
    count &+= 1
    if isShown && count & 0xFFFF == 0 { show() }
  }

  private mutating func show() {
    let second = Self.now()
    guard second >= nextSecond else { return }
    nextSecond = second + 1
    wasWritten = true
    put("\r\(count) \(unit)")
  }

  /// Wipes the count away.
  mutating func finish() {
    if wasWritten { put("\r\u{1B}[K") }
  }

  private func put(_ text: String) {
    var line = text
    line.withUTF8 { bytes in
      // SAFETY: the bytes live as long as the call.
      unsafe _ = write(2, bytes.baseAddress, bytes.count)
    }
  }
}
