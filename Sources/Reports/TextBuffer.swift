/// Text on its way out, as bytes: what every report is written into.
///
/// The buffer grows as needed and keeps its memory when it is emptied, so that a line written in a
/// loop allocates nothing. Numbers are formatted by hand; a `String` is never built.
@safe public struct TextBuffer: ~Copyable {
  private var storage: UnsafeMutablePointer<UInt8>
  private var capacity: Int
  /// The number of bytes written since the buffer was empty.
  public private(set) var count = 0

  /// An empty buffer with room for `capacity` bytes before it grows.
  public init(capacity: Int = 4096) {
    precondition(capacity > 0, "a buffer has room for a byte")
    self.capacity = capacity
    // SAFETY: the allocation is this buffer's own until `deinit`.
    unsafe storage = .allocate(capacity: capacity)
  }

  deinit {
    // SAFETY: nobody holds the allocation beyond `withBytes`.
    unsafe storage.deallocate()
  }

  /// Makes sure that `more` bytes fit.
  private mutating func reserve(_ more: Int) {
    if _fastPath(capacity &- count >= more) { return }
    let larger = max(capacity * 2, count + more)
    // SAFETY: `count` bytes are initialised in the old allocation and fit the new one.
    let target = UnsafeMutablePointer<UInt8>.allocate(capacity: larger)
    unsafe target.update(from: storage, count: count)
    unsafe storage.deallocate()
    unsafe storage = target
    capacity = larger
  }

  /// Forgets what was written and keeps the memory.
  public mutating func removeAll() { count = 0 }

  /// Hands out what was written so far, for as long as `body` runs.
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    // SAFETY: `count` bytes are initialised, and nobody writes while `body` borrows the buffer.
    unsafe body(UnsafeRawBufferPointer(start: storage, count: count))
  }

  /// What was written so far, as a string; for tests and single lines.
  public var text: String {
    var copy: [UInt8] = []
    copy.reserveCapacity(count)
    for index in 0..<count {
      // SAFETY: the first `count` bytes are initialised.
      copy.append(unsafe storage[index])
    }
    return String(decoding: copy, as: UTF8.self)
  }

  // MARK: Words

  /// Writes one byte.
  public mutating func append(_ byte: UInt8) {
    reserve(1)
    // SAFETY: room for the byte was reserved.
    unsafe storage[count] = byte
    count &+= 1
  }

  /// Writes `text`.
  public mutating func append(_ text: StaticString) {
    let length = text.utf8CodeUnitCount
    reserve(length)
    // SAFETY: room for the text was reserved, and a static string is `length` bytes.
    unsafe (storage + count).update(from: text.utf8Start, count: length)
    count &+= length
  }

  /// Writes a text that is known only at run time.
  ///
  /// It has a name of its own so that a literal never becomes a `String`.
  public mutating func append(string text: String) {
    for byte in text.utf8 { append(byte) }
  }

  /// Writes `byte` `times` times.
  public mutating func append(repeating byte: UInt8, times: Int) {
    reserve(max(times, 0))
    for _ in 0..<max(times, 0) { append(byte) }
  }

  /// Ends a line.
  public mutating func endLine() { append(0x0A) }

  /// Writes spaces until the line that started at `start` is `width` bytes long.
  public mutating func pad(from start: Int, to width: Int) {
    append(repeating: 0x20, times: width - (count - start))
  }

  // MARK: Numbers

  /// Writes `value` in hexadecimal with at least `digits` digits, without a prefix (`%llx`).
  public mutating func appendHex(_ value: UInt64, digits: Int = 1) {
    let significant = (67 &- value.leadingZeroBitCount) / 4
    let width = max(significant, digits)
    reserve(width)
    var rest = value
    var place = count &+ width
    while place > count {
      place &-= 1
      let digit = UInt8(truncatingIfNeeded: rest & 15)
      // SAFETY: `place` lies in the reserved bytes.
      unsafe storage[place] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
      rest &>>= 4
    }
    count &+= width
  }

  /// Writes `value` in hexadecimal with at least `digits` digits after `0x`.
  public mutating func appendPrefixedHex(_ value: UInt64, digits: Int = 1) {
    append("0x")
    appendHex(value, digits: digits)
  }

  /// Writes `value` in decimal, right-aligned in `width` bytes filled with `fill`.
  public mutating func appendDecimal(_ value: UInt64, width: Int = 1, fill: UInt8 = 0x20) {
    var digits = 1
    var power = value / 10
    while power != 0 {
      digits &+= 1
      power /= 10
    }
    let length = max(digits, width)
    reserve(length)
    var rest = value
    var place = count &+ length
    for written in 0..<length {
      place &-= 1
      let byte = written < digits ? 0x30 &+ UInt8(truncatingIfNeeded: rest % 10) : fill
      // SAFETY: `place` lies in the reserved bytes.
      unsafe storage[place] = byte
      rest /= 10
    }
    count &+= length
  }

  /// Writes `value` in decimal with its sign.
  public mutating func appendDecimal(_ value: Int64) {
    if value < 0 { append(0x2D) }
    appendDecimal(value.magnitude)
  }
}
