/// The information block that a Multiboot loader leaves for the kernel, and the modules
/// (Multiboot Specification 0.6.96, "Boot information format").
struct BootInformation {
  /// Bytes and where they go.
  struct Piece {
    var address: UInt64
    var bytes: [UInt8]
  }

  /// The block, the strings and the module table; modules are placed by `moduleAddresses`.
  var pieces: [Piece]
  /// The address of the block: EBX.
  var address: UInt32
  /// Where each module goes, in order.
  var moduleAddresses: [UInt64]

  /// What the block tells.
  struct Contents {
    var commandLine: String
    /// The command line and the size of each module.
    var modules: [(name: String, byteCount: UInt64)]
    var memory: GuestMemoryLayout
    var image: GuestImage
  }

  /// Below the kernel, where loaders have put it since there are PCs.
  private static let usualAddress: UInt64 = 0x9000
  private static let usualEnd: UInt64 = 0x9_F000

  init(_ contents: Contents) throws(ImageError) {
    var next = (contents.image.end + 0xFFF) & ~0xFFF
    moduleAddresses = []
    for module in contents.modules {
      moduleAddresses.append(next)
      guard module.byteCount <= contents.memory.lowEnd, next <= contents.memory.lowEnd else {
        throw ImageError(
          offset: 0, reason: .outsideMemory(address: next, byteCount: module.byteCount))
      }
      next = (next + module.byteCount + 0xFFF) & ~0xFFF
    }
    let size = Self.byteCount(contents)
    let isUsualFree = !contents.image.segments.contains {
      $0.address < Self.usualEnd && $0.address + $0.byteCount > Self.usualAddress
    }
    let start =
      isUsualFree && size <= Self.usualEnd - Self.usualAddress ? Self.usualAddress : next
    let end = max(next, start + size)
    guard end <= contents.memory.lowEnd, let address = UInt32(exactly: start) else {
      throw ImageError(offset: 0, reason: .outsideMemory(address: start, byteCount: size))
    }
    self.address = address
    var block = BootBlock(start: start)
    block.fill(contents, moduleAddresses)
    pieces = [Piece(address: start, bytes: block.bytes)]
  }

  private static func byteCount(_ contents: Contents) -> UInt64 {
    var block = BootBlock(start: 0)
    block.fill(contents, contents.modules.map { _ in 0 })
    return UInt64(block.bytes.count)
  }
}

/// The bytes of the information block and what it points to.
private struct BootBlock {
  let start: UInt64
  var bytes = [UInt8](repeating: 0, count: 120)

  private mutating func set(_ value: UInt64, at offset: Int, count: Int = 4) {
    for index in 0..<count {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
    }
  }

  private mutating func append(_ value: UInt64, count: Int) {
    for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
  }

  private var end: UInt64 { start + UInt64(bytes.count) }

  private mutating func append(_ text: String) -> UInt64 {
    let place = end
    bytes += Array(text.utf8) + [0]
    return place
  }

  private mutating func align() { while bytes.count % 8 != 0 { bytes.append(0) } }

  mutating func fill(_ contents: BootInformation.Contents, _ modules: [UInt64]) {
    // Memory sizes, command line, memory map, loader's name; modules when there are any.
    set(0b10_0100_0101 | (modules.isEmpty ? 0 : 8), at: 0)
    set(contents.memory.lowerKibibytes, at: 4)
    set(contents.memory.upperKibibytes, at: 8)
    set(append(contents.commandLine), at: 16)
    set(append("penumbra"), at: 64)
    let names = contents.modules.map { append($0.name) }
    align()
    set(UInt64(modules.count), at: 20)
    set(modules.isEmpty ? 0 : end, at: 24)
    for (index, address) in modules.enumerated() {
      append(address, count: 4)
      append(address + contents.modules[index].byteCount, count: 4)
      append(names[index], count: 4)
      append(0, count: 4)
    }
    let map = end
    for range in contents.memory.map {
      // The size field does not count itself.
      append(20, count: 4)
      append(range.address, count: 8)
      append(range.byteCount, count: 8)
      append(range.isUsable ? 1 : 2, count: 4)
    }
    set(end - map, at: 44)
    set(map, at: 48)
  }
}
