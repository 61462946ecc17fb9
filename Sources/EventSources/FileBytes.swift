/// The bytes of a file that somebody else read or mapped, addressed from 0.
///
/// A small value that owns nothing. Numbers are little-endian and need no alignment. Whoever
/// follows an offset found in the file asks `contains` first; a read outside traps.
@safe public struct FileBytes: @unchecked Sendable {
  private let bytes: UnsafeRawBufferPointer

  /// A window on bytes that outlive every copy of it and that nobody writes meanwhile.
  @unsafe public init(_ bytes: UnsafeRawBufferPointer) {
    // SAFETY: the caller promises that the bytes stay.
    unsafe self.bytes = bytes
  }

  /// The number of bytes.
  public var count: UInt64 {
    // SAFETY: the size of a buffer reads no memory.
    unsafe UInt64(bytes.count)
  }

  /// Whether `count` bytes from `offset` on lie inside.
  public func contains(_ offset: UInt64, count: UInt64) -> Bool {
    offset <= self.count && count <= self.count - offset
  }

  private func load<Word: FixedWidthInteger & BitwiseCopyable>(
    _ offset: UInt64, _ type: Word.Type
  ) -> Word {
    precondition(
      contains(offset, count: UInt64(MemoryLayout<Word>.size)), "a read lies inside the file")
    // SAFETY: the range was checked against the buffer's size.
    return unsafe Word(
      littleEndian: bytes.loadUnaligned(fromByteOffset: Int(offset), as: Word.self))
  }

  /// The byte at `offset`; traps outside.
  public func byte(at offset: UInt64) -> UInt8 { load(offset, UInt8.self) }
  /// The 2-byte number at `offset`; traps outside.
  public func word16(at offset: UInt64) -> UInt16 { load(offset, UInt16.self) }
  /// The 4-byte number at `offset`; traps outside.
  public func word32(at offset: UInt64) -> UInt32 { load(offset, UInt32.self) }
  /// The 8-byte number at `offset`; traps outside.
  public func word64(at offset: UInt64) -> UInt64 { load(offset, UInt64.self) }

  /// The window on `count` bytes from `offset` on; traps when they do not lie inside.
  public func slice(_ offset: UInt64, count: UInt64) -> FileBytes {
    precondition(contains(offset, count: count), "a slice lies inside the file")
    // SAFETY: the range was checked against the buffer's size.
    return unsafe FileBytes(
      UnsafeRawBufferPointer(rebasing: bytes[Int(offset)..<Int(offset + count)]))
  }

  /// Whether the bytes from `offset` on are those of `text`.
  func spells(_ text: StaticString, at offset: UInt64) -> Bool {
    guard contains(offset, count: UInt64(text.utf8CodeUnitCount)) else { return false }
    for index in 0..<text.utf8CodeUnitCount {
      // SAFETY: the index lies inside the static string.
      guard unsafe text.utf8Start[index] == byte(at: offset + UInt64(index)) else { return false }
    }
    return true
  }

  /// Whether both windows show the very same bytes of memory.
  func isSame(as other: FileBytes) -> Bool {
    // SAFETY: the addresses are compared, never followed.
    unsafe bytes.baseAddress == other.bytes.baseAddress && bytes.count == other.bytes.count
  }

  /// The offset of the first byte in which two windows of one size differ.
  func firstDifference(from other: FileBytes) -> UInt64? {
    precondition(count == other.count, "windows of one size are compared")
    var offset: UInt64 = 0
    while count - offset >= 8, word64(at: offset) == other.word64(at: offset) { offset += 8 }
    while offset < count, byte(at: offset) == other.byte(at: offset) { offset += 1 }
    return offset < count ? offset : nil
  }
}
