/// What a boot loader puts into the guest's memory, and where it starts.
///
/// Nothing is copied yet: segments name ranges of the file. Every size and offset has been checked
/// against the file, and `check` compares them with the guest's memory.
public struct GuestImage: Hashable, Sendable {
  /// A range of guest-physical memory and the file's bytes for its front; the rest is zero.
  public struct Segment: Hashable, Sendable {
    /// Where the segment lies in guest-physical memory.
    public var address: UInt64
    /// Its length in memory.
    public var byteCount: UInt64
    /// Its bytes in the file.
    public var file: Range<UInt64>

    /// A segment.
    public init(address: UInt64, byteCount: UInt64, file: Range<UInt64>) {
      self.address = address
      self.byteCount = byteCount
      self.file = file
    }
  }

  /// How an image is to be read.
  public enum Kind: Hashable, Sendable {
    /// Multiboot 1: ELF, or the header's own addresses.
    case multiboot
    /// The whole file at this address, entered at its first byte.
    case flat(address: UInt32)
  }

  /// The segments, in ascending order, none empty.
  public private(set) var segments: [Segment]
  /// The first instruction's address.
  public private(set) var entry: UInt32
  /// The names of functions, if the file has any.
  public private(set) var symbols: SymbolTable

  /// Reads an image from a file's bytes.
  public init(_ bytes: [UInt8], as kind: Kind = .multiboot) throws(ImageError) {
    let image = ImageBytes(bytes: bytes)
    guard !bytes.isEmpty else { throw ImageError(offset: 0, reason: .empty) }
    let start: UInt64
    switch kind {
    case .flat(let address):
      segments = [Segment(address: UInt64(address), byteCount: image.count, file: 0..<image.count)]
      start = UInt64(address)
      symbols = SymbolTable()
    case .multiboot:
      let header = try MultibootHeader(image)
      if let addresses = header.addresses {
        (segments, start) = try addresses.load(image, header.offset)
        // The header's addresses decide; an ELF file around them still has names.
        symbols = (try? ELFFile(image)).map { SymbolTable($0, image) } ?? SymbolTable()
      } else {
        let file = try ELFFile(image)
        (segments, start) = try file.load(image)
        symbols = SymbolTable(file, image)
      }
    }
    segments.removeAll { $0.byteCount == 0 }
    guard !segments.isEmpty else { throw ImageError(offset: 0, reason: .empty) }
    segments.sort { $0.address < $1.address }
    for (index, segment) in segments.enumerated() {
      guard segment.byteCount <= UInt64(UInt32.max) + 1,
        segment.address <= UInt64(UInt32.max) + 1 - segment.byteCount
      else { throw ImageError(offset: segment.file.lowerBound, reason: .wraps) }
      guard index > 0 else { continue }
      let previous = segments[index - 1]
      if previous.address + previous.byteCount > segment.address {
        throw ImageError(
          offset: segment.file.lowerBound, reason: .overlap(address: segment.address))
      }
    }
    guard
      let entry = UInt32(exactly: start),
      segments.contains(where: { $0.address <= start && start - $0.address < $0.byteCount })
    else { throw ImageError(offset: 0, reason: .entryOutside(start)) }
    self.entry = entry
  }

  /// Checks that every segment fits memory from 0 to `end`.
  public func check(memoryEnd end: UInt64) throws(ImageError) {
    for segment in segments {
      guard segment.address <= end, segment.byteCount <= end - segment.address else {
        throw ImageError(
          offset: segment.file.lowerBound,
          reason: .outsideMemory(address: segment.address, byteCount: segment.byteCount))
      }
    }
  }

  /// The first address after every segment.
  public var end: UInt64 { segments.last.map { $0.address + $0.byteCount } ?? 0 }
}
