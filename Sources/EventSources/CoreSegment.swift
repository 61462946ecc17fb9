public import PagingUnits

/// A run of guest-physical memory that a core holds (a `PT_LOAD` program header).
public struct CoreSegment: Hashable, Sendable {
  /// The guest-physical address of the first byte (`p_paddr`).
  public var address: GuestPhysical
  /// The number of bytes in the file (`p_filesz`); what `p_memsz` says beyond is not in the image.
  public var byteCount: UInt64
  /// Where the bytes start in the file (`p_offset`).
  public var offset: UInt64
  /// Where its program header starts in the file, for error texts.
  public var headerOffset: UInt64

  /// A run of `byteCount` bytes at `offset` of the file.
  public init(
    address: GuestPhysical, byteCount: UInt64, offset: UInt64, headerOffset: UInt64
  ) {
    self.address = address
    self.byteCount = byteCount
    self.offset = offset
    self.headerOffset = headerOffset
  }
}
