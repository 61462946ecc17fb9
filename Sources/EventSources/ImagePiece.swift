public import PagingUnits

/// A run of guest-physical memory and the bytes that it holds.
public struct ImagePiece: Sendable {
  /// The guest-physical address of the first byte.
  public let start: GuestPhysical
  /// The bytes; at least one.
  public let bytes: FileBytes
  /// The offset in the file to name when something is wrong with the piece.
  public let place: UInt64

  /// A run of bytes at `start`.
  ///
  /// Throws when the run is larger than what is left of the address space.
  public init(
    start: GuestPhysical, bytes: FileBytes, place: UInt64 = 0
  ) throws(ImageError) {
    precondition(bytes.count > 0, "a piece of memory has bytes")
    guard bytes.count - 1 <= UInt64.max - start.raw else {
      throw ImageError(
        offset: place, .beyondAddressSpace(start: start.raw, size: bytes.count))
    }
    self.start = start
    self.bytes = bytes
    self.place = place
  }

  /// The address of the last byte; the end itself may not fit 64 bits.
  var last: UInt64 { start.raw + (bytes.count - 1) }

  /// Whether `count` bytes from `address` on lie in the piece.
  @inline(__always) func holds(_ address: UInt64, count: UInt64) -> Bool {
    // Wrapping: an address below the start becomes a distance beyond every size.
    let offset = address &- start.raw
    return offset < bytes.count && count <= bytes.count &- offset
  }

  /// The part from `address` on, which lies in the piece.
  func from(_ address: UInt64) throws(ImageError) -> ImagePiece {
    let skipped = address - start.raw
    return try ImagePiece(
      start: GuestPhysical(address),
      bytes: bytes.slice(skipped, count: bytes.count - skipped), place: place)
  }
}
