/// Why an image cannot be booted; the offset is the byte of the file that is wrong.
public struct ImageError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What is wrong.
  public enum Reason: Hashable, Sendable {
    /// The file ends before this many bytes from the offset on.
    case truncated(needed: UInt64)
    /// No Multiboot header in the first 8,192 bytes.
    case noHeader
    /// The header asks for something that a loader must refuse.
    case unsupportedFlags(UInt32)
    /// Neither an ELF file nor a header with addresses.
    case noAddresses
    /// Not an ELF file of a 32- or 64-bit x86 processor, little-endian.
    case machine
    /// A table's entries have another size than the format's.
    case entrySize(UInt64)
    /// More entries than any such file has.
    case tooMany(UInt64)
    /// A segment has more bytes in the file than in memory.
    case fileLargerThanMemory
    /// A range of addresses runs past the end of 64-bit or 32-bit addresses.
    case wraps
    /// A segment or module does not fit the guest's memory.
    case outsideMemory(address: UInt64, byteCount: UInt64)
    /// Two segments want the same byte.
    case overlap(address: UInt64)
    /// Nothing to load.
    case empty
    /// The entry point lies in no segment.
    case entryOutside(UInt64)
    /// The header's addresses contradict each other.
    case headerAddresses
  }

  /// The byte of the file.
  public var offset: UInt64
  /// What is wrong there.
  public var reason: Reason

  /// An error at a byte of the file.
  public init(offset: UInt64, reason: Reason) {
    self.offset = offset
    self.reason = reason
  }

  /// One line for a person.
  public var description: String {
    "at byte \(offset): " + Self.words(reason)
  }

  private static func words(_ reason: Reason) -> String {
    switch reason {
    case .truncated(let needed): "the file ends, \(needed) more bytes were expected"
    case .noHeader: "no Multiboot header (1BADB002h) in the first 8192 bytes"
    case .unsupportedFlags(let flags): "the header's flags 0x\(hex(UInt64(flags))) are not known"
    case .noAddresses: "neither an ELF file nor a Multiboot header with addresses"
    case .machine: "not a little-endian x86 executable"
    case .entrySize(let size): "entries of \(size) bytes are not the format's"
    case .tooMany(let count): "\(count) entries are too many"
    case .fileLargerThanMemory: "a segment has more bytes in the file than in memory"
    case .wraps: "a range runs past the last address"
    case .outsideMemory(let address, let count):
      "0x\(hex(count)) bytes at 0x\(hex(address)) do not fit the guest's memory"
    case .overlap(let address): "two segments want address 0x\(hex(address))"
    case .empty: "nothing to load"
    case .entryOutside(let entry): "the entry point 0x\(hex(entry)) lies in no segment"
    case .headerAddresses: "the header's addresses contradict each other"
    }
  }

  private static func hex(_ value: UInt64) -> String { String(value, radix: 16) }
}

/// A file's bytes, read in bounds-checked little-endian steps.
struct ImageBytes {
  let bytes: [UInt8]

  var count: UInt64 { UInt64(bytes.count) }

  /// Checks that `count` bytes from `offset` on exist.
  func check(_ offset: UInt64, count needed: UInt64) throws(ImageError) {
    guard offset <= count, needed <= count - offset else {
      let missing = offset <= count ? needed - (count - offset) : needed
      throw ImageError(offset: min(offset, count), reason: .truncated(needed: missing))
    }
  }

  private func integer(_ offset: UInt64, _ size: UInt64) throws(ImageError) -> UInt64 {
    try check(offset, count: size)
    var value: UInt64 = 0
    for index in 0..<size { value |= UInt64(bytes[Int(offset + index)]) << (8 * index) }
    return value
  }

  func byte(_ offset: UInt64) throws(ImageError) -> UInt8 {
    UInt8(truncatingIfNeeded: try integer(offset, 1))
  }
  func half(_ offset: UInt64) throws(ImageError) -> UInt16 {
    UInt16(truncatingIfNeeded: try integer(offset, 2))
  }
  func word(_ offset: UInt64) throws(ImageError) -> UInt32 {
    UInt32(truncatingIfNeeded: try integer(offset, 4))
  }
  func long(_ offset: UInt64) throws(ImageError) -> UInt64 { try integer(offset, 8) }
}
