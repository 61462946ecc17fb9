import PagingUnits
import Testing

@testable import EventSources

@Suite("Memory images")
struct MemoryImageTests {
  /// Pieces of `file`: an address, an offset and a size each.
  private func image(
    _ file: FileBytes, _ parts: [(UInt64, UInt64, UInt64)]
  ) throws -> MemoryImage {
    try MemoryImage(
      parts.map { address, offset, count in
        try ImagePiece(
          start: GuestPhysical(address), bytes: file.slice(offset, count: count), place: offset)
      })
  }

  @Test("pieces that agree may overlap in every way")
  func agreeing() throws {
    try withFile(Array(0...255) + Array(0...255)) { file in
      // The whole; the same bytes again; a copy of them; one that reaches further; one in a gap.
      var image = try image(
        file,
        [
          (0x100, 0, 128), (0x100, 0, 128), (0x120, 256 + 32, 16), (0x140, 64, 192),
          (0x400, 0, 1),
        ])
      #expect(image.pieceCount == 3)
      for offset in 0..<256 as Range<UInt64> {
        #expect(image.byte(at: GuestPhysical(0x100 + offset)) == UInt8(offset))
      }
      #expect(image.byte(at: GuestPhysical(0xFF)) == nil)
      #expect(image.byte(at: GuestPhysical(0x200)) == nil)
      #expect(image.byte(at: GuestPhysical(0x400)) == 0)
    }
  }

  @Test("pieces that disagree are refused at the first address in which they differ")
  func disagreeing() throws {
    var bytes = [UInt8](repeating: 9, count: 200)
    bytes[150] = 8
    #expect(throws: ImageError(offset: 100, .conflict(GuestPhysical(0x1032)))) {
      try withFile(bytes) { file in
        _ = try image(file, [(0x1000, 0, 100), (0x1000, 100, 100)])
      }
    }
  }

  @Test("a number may straddle two pieces, but no gap")
  func straddling() throws {
    try withFile(Array(0..<32)) { file in
      var image = try image(file, [(0x1000, 0, 5), (0x1005, 5, 11), (0x1020, 16, 4)])
      for offset in 0..<9 as Range<UInt64> {
        let expected = (0..<8 as Range<UInt64>).reduce(0) { $0 | (offset + $1) << ($1 * 8) }
        #expect(image.word64(at: GuestPhysical(0x1000 + offset)) == expected)
      }
      #expect(image.word64(at: GuestPhysical(0x1009)) == nil)
      #expect(image.word32(at: GuestPhysical(0x101E)) == nil)
    }
  }

  @Test(
    "a random crowd of pieces answers as a naive map of bytes does",
    arguments: 0..<20 as Range<UInt64>)
  func crowd(seed: UInt64) throws {
    var chance = SeededGenerator(seed: seed)
    let file = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }
    var expected: [UInt64: UInt8] = [:]
    var parts: [(UInt64, UInt64, UInt64)] = []
    for _ in 0..<60 {
      // An address stands where its own number says, so that pieces always agree.
      let start = UInt64.random(in: 0..<4000, using: &chance)
      let count = UInt64.random(in: 1...96, using: &chance)
      parts.append((start, start, min(count, 4096 - start)))
      for offset in 0..<min(count, 4096 - start) {
        expected[start + offset] = file[Int(start + offset)]
      }
    }
    try withFile(file) { bytes in
      var image = try image(bytes, parts)
      #expect(image.byteCount == UInt64(expected.count))
      for address in 0..<4200 as Range<UInt64> {
        #expect(image.byte(at: GuestPhysical(address)) == expected[address])
      }
    }
  }

  @Test("a piece may end with the address space")
  func lastByte() throws {
    try withFile([1, 2, 3, 4, 5, 6, 7, 8]) { file in
      var image = try image(file, [(UInt64.max - 7, 0, 8)])
      #expect(image.word64(at: GuestPhysical(UInt64.max - 7)) == 0x0807_0605_0403_0201)
      #expect(image.word64(at: GuestPhysical(UInt64.max - 6)) == nil)
      #expect(image.byte(at: GuestPhysical(.max)) == 8)
    }
  }
}
