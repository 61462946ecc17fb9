import PageTables
import PagingUnits
import Testing

@Suite("Entries of sub-page-permission tables")
struct SubpageEntryTests {
  /// Maps and the vectors that the processor reads for them.
  static let vectors: [(map: UInt32, vector: UInt64)] = [
    (0x0000_0000, 0x0000_0000_0000_0000), (0x0000_0001, 0x0000_0000_0000_0001),
    (0x0000_0002, 0x0000_0000_0000_0004), (0x0000_000F, 0x0000_0000_0000_0055),
    (0x0001_0000, 0x0000_0001_0000_0000), (0x0000_FFFF, 0x0000_0000_5555_5555),
    (0x5555_5555, 0x1111_1111_1111_1111), (0xAAAA_AAAA, 0x4444_4444_4444_4444),
    (0x7FFF_FFFF, 0x1555_5555_5555_5555), (0x8000_0000, 0x4000_0000_0000_0000),
    (0xFFFF_FFFE, 0x5555_5555_5555_5554), (0xDEAD_BEEF, 0x5154_4451_4554_5455),
    (0xFFFF_FFFF, 0x5555_5555_5555_5555),
  ]

  // S47
  @Test("a map becomes the even bits of a vector, and the vector the map again")
  func conversion() {
    for (map, vector) in Self.vectors {
      let entry = SubpageEntry(SubpageAccess(rawValue: map))
      #expect(entry.raw == vector && entry.access.rawValue == map)
    }
    var word: UInt64 = 1
    for _ in 0..<100_000 {
      word = word &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let map = UInt32(truncatingIfNeeded: word >> 32)
      let entry = SubpageEntry(SubpageAccess(rawValue: map))
      if entry.access.rawValue != map || entry.raw & 0xAAAA_AAAA_AAAA_AAAA != 0 {
        Issue.record("\(map) becomes \(entry.raw)")
      }
    }
  }

  @Test("bytes touch the sub-pages from the first one's to the last one's")
  func touched() {
    for (offset, count, expected) in [
      (0x07F, 1, 0b1), (0x07F, 2, 0b11), (0x078, 8, 0b1), (0x07C, 8, 0b11), (0x060, 64, 0b11),
      (0x0C0, 64, 0b10), (0x001, 128, 0b11), (0xF80, 128, 1 << 31), (0x000, 512, 0b1111),
      (0xFFC, 8, 1 << 31), (0, 4096, .max), (0, .max, .max), (0xFFF, .max, 1 << 31),
    ] as [(UInt64, UInt64, UInt32)] {
      #expect(SubpageAccess.touched(from: offset, count: count).rawValue == expected)
    }
    // The slow way, for one first byte in three.
    for offset in stride(from: 0, to: 4096, by: 3) as StrideTo<UInt64> {
      for count in [1, 2, 127, 128, 129, 300] as [UInt64] {
        var bits: UInt32 = 0
        for byte in offset..<offset + count where byte < 4096 && byte % 128 == 0 {
          bits |= 1 << UInt32(byte / 128)
        }
        bits |= 1 << UInt32(offset / 128)
        if SubpageAccess.touched(from: offset, count: count).rawValue != bits {
          Issue.record("\(count) bytes from \(offset)")
        }
      }
    }
  }

  @Test("a map permits a write when every sub-page that it touches is open")
  func permits() {
    let map = SubpageAccess(rawValue: 0b1011)
    #expect(map.permits(SubpageAccess(rawValue: 0b11)) && map.permits(.none))
    #expect(!map.permits(SubpageAccess(rawValue: 0b110)) && SubpageAccess.all.permits(.all))
    #expect(map[0] && !map[2] && map[3] && !map[31])
    #expect(map.isProtected && !SubpageAccess.all.isProtected)
  }
}
