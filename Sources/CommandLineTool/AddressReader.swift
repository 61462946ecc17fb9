import EventSources
import Glibc
import PagingUnits

/// Addresses from standard input, one a line.
///
/// The input is read in large pieces and parsed in place. Blank lines are skipped; a line that is
/// no number, or longer than any number, ends the command with its number.
@safe struct AddressReader: ~Copyable {
  private static let capacity = 1 << 16
  private let storage: UnsafeMutableRawPointer
  /// The bytes that were read and not parsed yet.
  private var start = 0
  private var end = 0
  private var line = 0
  private var reachedEnd = false

  init() {
    // SAFETY: the allocation is this reader's own until `deinit`.
    unsafe storage = .allocate(byteCount: Self.capacity, alignment: 8)
  }

  deinit {
    // SAFETY: nobody else holds the allocation.
    unsafe storage.deallocate()
  }

  /// The next address that was read already; `nil` when more input is needed, or there is no more.
  mutating func next() throws -> GuestVirtual? {
    while start < end {
      // SAFETY: the bytes from `start` to `end` were read.
      let rest = unsafe UnsafeRawPointer(storage + start)
      let found = unsafe memchr(rest, 0x0A, end - start)
      let length: Int
      if let found = unsafe found {
        length = unsafe UnsafeRawPointer(found) - rest
      } else if reachedEnd {
        length = end - start
      } else if end - start == Self.capacity {
        line += 1
        throw Failure("standard input, line \(line): a line of 65536 bytes is no address")
      } else {
        return nil
      }
      line += 1
      // SAFETY: the line lies in the bytes that were read.
      let text = unsafe trimmed(UnsafeRawBufferPointer(start: rest, count: length))
      start = min(start + length + 1, end)
      if unsafe text.isEmpty { continue }
      guard let value = unsafe Quantity.parse(text) else { throw unsafe malformed(text) }
      return GuestVirtual(value)
    }
    return nil
  }

  /// Reads more; false at the end of the input.
  mutating func fill() throws -> Bool {
    guard !reachedEnd else { return false }
    if start > 0 {
      // SAFETY: source and target lie in the buffer; `memmove` allows them to overlap.
      unsafe _ = memmove(storage, storage + start, end - start)
      end -= start
      start = 0
    }
    while true {
      // SAFETY: the range lies in the buffer.
      let count = unsafe read(0, storage + end, Self.capacity - end)
      if count > 0 {
        end += count
        return true
      }
      if count == 0 {
        reachedEnd = true
        return start < end
      }
      guard errno == EINTR else { throw Failure("standard input: \(Failure.systemError)") }
    }
  }

  /// A line without spaces, tabs and a carriage return around it.
  private func trimmed(_ line: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var first = 0
    var last = line.count
    // SAFETY: both indices stay inside the line.
    while first < last, unsafe line[first] == 0x20 || line[first] == 0x09 { first += 1 }
    while first < last, unsafe line[last - 1] <= 0x20 { last -= 1 }
    return unsafe UnsafeRawBufferPointer(rebasing: line[first..<last])
  }

  private func malformed(_ text: UnsafeRawBufferPointer) -> Failure {
    // SAFETY: the line lives as long as the call.
    let shown = unsafe String(decoding: text.prefix(40), as: UTF8.self)
    let printable = shown.map { $0.isASCII && $0 >= " " ? $0 : "?" }
    return Failure(
      "standard input, line \(line): \"\(String(printable))\" is no address, "
        + "a decimal or 0x hexadecimal number below 2^64 was expected")
  }
}
