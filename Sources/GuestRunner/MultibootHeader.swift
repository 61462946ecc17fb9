/// The header by which a Multiboot 1 kernel is known (Multiboot Specification 0.6.96, "OS image
/// format").
struct MultibootHeader {
  static let magic: UInt32 = 0x1BAD_B002
  /// What the kernel finds in EAX.
  static let loaderMagic: UInt32 = 0x2BAD_B002
  private static let searchedBytes: UInt64 = 8192

  /// Where the header lies in the file.
  var offset: UInt64
  /// The addresses that replace an executable format's, if the header has them.
  var addresses: Addresses?

  init(_ image: ImageBytes) throws(ImageError) {
    var position: UInt64 = 0
    while position + 12 <= min(image.count, Self.searchedBytes) {
      let magic = try image.word(position)
      let flags = try image.word(position + 4)
      let checksum = try image.word(position + 8)
      // The three words sum to zero modulo 2^32, so wrapping is what is meant.
      if magic == Self.magic && magic &+ flags &+ checksum == 0 {
        offset = position
        // Bits 0 to 15 are requirements; pages aligned, memory information and a video mode are
        // known, and the last may be left unmet.
        guard flags & 0xFFF8 == 0 else {
          throw ImageError(offset: position + 4, reason: .unsupportedFlags(flags))
        }
        addresses = flags & 1 << 16 == 0 ? nil : try Addresses(image, position + 12)
        return
      }
      position += 4
    }
    throw ImageError(offset: 0, reason: .noHeader)
  }

  /// The header's five addresses.
  struct Addresses {
    var header: UInt64, load: UInt64, loadEnd: UInt64, bssEnd: UInt64, entry: UInt64

    init(_ image: ImageBytes, _ position: UInt64) throws(ImageError) {
      header = UInt64(try image.word(position))
      load = UInt64(try image.word(position + 4))
      loadEnd = UInt64(try image.word(position + 8))
      bssEnd = UInt64(try image.word(position + 12))
      entry = UInt64(try image.word(position + 16))
    }

    /// One segment, and the entry point.
    func load(
      _ image: ImageBytes, _ offset: UInt64
    ) throws(ImageError) -> ([GuestImage.Segment], UInt64) {
      // The file's byte `offset` goes to `header`, so loading starts this far before it.
      guard load <= header, header - load <= offset else {
        throw ImageError(offset: offset + 12, reason: .headerAddresses)
      }
      let start = offset - (header - load)
      let fileBytes: UInt64
      if loadEnd == 0 {
        fileBytes = image.count - start
      } else {
        guard loadEnd >= load else {
          throw ImageError(offset: offset + 20, reason: .headerAddresses)
        }
        fileBytes = loadEnd - load
      }
      try image.check(start, count: fileBytes)
      var byteCount = fileBytes
      if bssEnd != 0 {
        guard bssEnd >= load + fileBytes else {
          throw ImageError(offset: offset + 24, reason: .headerAddresses)
        }
        byteCount = bssEnd - load
      }
      let segment = GuestImage.Segment(
        address: load, byteCount: byteCount, file: start..<start + fileBytes)
      return ([segment], entry)
    }
  }
}
