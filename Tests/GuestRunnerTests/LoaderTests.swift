import GuestRunner
import Testing

@Suite("Images") struct LoaderTests {
  static let halt: [UInt8] = [0xFA, 0xF4]

  @Test("ELF of both widths and a header with addresses load at the same place")
  func formats() throws {
    for image in [
      TestImages.elf32(Self.halt), TestImages.elf64(Self.halt), TestImages.plain(Self.halt),
    ] {
      let loaded = try GuestImage(image)
      #expect(loaded.segments.count == 1)
      #expect(loaded.segments[0].address == 0x10_0000)
      #expect(loaded.entry > 0x10_0000 && loaded.entry < 0x10_0100)
    }
  }

  @Test("a flat file loads where it is told and is entered at its start")
  func flat() throws {
    let loaded = try GuestImage([1, 2, 3], as: .flat(address: 0x20_0000))
    #expect(loaded.entry == 0x20_0000)
    #expect(loaded.segments == [.init(address: 0x20_0000, byteCount: 3, file: 0..<3)])
  }

  @Test("an empty file, no header, and a header that asks too much are refused with their place")
  func headers() {
    #expect(throws: ImageError(offset: 0, reason: .empty)) { try GuestImage([]) }
    #expect(throws: ImageError(offset: 0, reason: .noHeader)) {
      try GuestImage([UInt8](repeating: 0, count: 100))
    }
    var file = TestImages.elf32(Self.halt)
    TestImages.put32(&file, 0x204, 0x8003)
    TestImages.put32(&file, 0x208, 0 &- 0x1BAD_B002 &- 0x8003)
    #expect(throws: ImageError(offset: 0x204, reason: .unsupportedFlags(0x8003))) {
      try GuestImage(file)
    }
  }

  @Test("a segment of 16 EiB is refused without memory being asked for")
  func hugeSegment() {
    var file = TestImages.elf64(Self.halt)
    TestImages.put64(&file, 104, .max)
    #expect(throws: ImageError(offset: 64, reason: .wraps)) { try GuestImage(file) }
    TestImages.put64(&file, 96, .max)
    #expect(throws: ImageError.self) { try GuestImage(file) }
  }

  @Test("more bytes in the file than in memory, and bytes past the file's end, are refused")
  func fileSizes() {
    var file = TestImages.elf64(Self.halt)
    TestImages.put64(&file, 104, 1)
    #expect(throws: ImageError(offset: 64, reason: .fileLargerThanMemory)) {
      try GuestImage(file)
    }
    file = TestImages.elf64(Self.halt)
    TestImages.put64(&file, 72, 0x208)
    #expect(throws: ImageError(offset: 0x208, reason: .truncated(needed: 8))) {
      // The segment's 14 bytes now end 8 past the file.
      try GuestImage(file)
    }
  }

  @Test("overlapping segments are refused")
  func overlap() {
    var file = TestImages.elf64(Self.halt)
    TestImages.put16(&file, 56, 2)
    // A second header like the first, one byte further.
    file.replaceSubrange(120..<176, with: file[64..<120])
    TestImages.put64(&file, 136, 0x10_0001)
    TestImages.put64(&file, 144, 0x10_0001)
    #expect(throws: ImageError(offset: 0x200, reason: .overlap(address: 0x10_0001))) {
      try GuestImage(file)
    }
  }

  @Test("a segment outside the guest's memory is refused")
  func outside() throws {
    let image = try GuestImage(TestImages.elf32(Self.halt))
    try image.check(memoryEnd: 0x20_0000)
    #expect(throws: ImageError.self) { try image.check(memoryEnd: 0x10_0800) }
  }

  @Test("an entry point outside every segment is refused")
  func entry() {
    var file = TestImages.elf32(Self.halt)
    TestImages.put32(&file, 24, 0x50_0000)
    #expect(throws: ImageError(offset: 0, reason: .entryOutside(0x50_0000))) {
      try GuestImage(file)
    }
  }

  @Test("addresses of a header that contradict each other are refused")
  func headerAddresses() {
    for (offset, value) in [(16, 0x20_0000), (20, 0x0F_0000), (24, 0x10_0001)] as [(Int, UInt32)] {
      var file = TestImages.plain(Self.halt)
      TestImages.put32(&file, offset, value)
      #expect(throws: ImageError.self) { try GuestImage(file) }
    }
  }

  @Test("a file cut anywhere is refused or loads, and never traps")
  func truncation() {
    for whole in [TestImages.elf32(Self.halt), TestImages.elf64(Self.halt)] {
      for count in (0..<200).map({ $0 }) + (512..<whole.count).map({ $0 }) {
        #expect(throws: ImageError.self) { try GuestImage(Array(whole[..<count])) }
      }
    }
  }

  @Test("files with random bytes changed are refused or load, and never trap")
  func fuzz() {
    var chance = SeededNumbers(seed: 2)
    var loaded = 0
    let originals = [
      TestImages.elf32(Self.halt), TestImages.elf64(Self.halt), TestImages.plain(Self.halt),
    ]
    for round in 0..<6_000 {
      var file = originals[round % originals.count]
      let front = min(file.count, 200)
      for _ in 0..<Int.random(in: 1...6, using: &chance) {
        let place = Int.random(in: 0..<front, using: &chance)
        let edges: [UInt8] = [0, 0xFF, 0x7F, 0x80, 1, UInt8.random(in: 0...255, using: &chance)]
        file[place] = edges[Int.random(in: 0..<edges.count, using: &chance)]
      }
      guard let image = try? GuestImage(file) else { continue }
      loaded += 1
      for segment in image.segments {
        #expect(segment.file.upperBound <= UInt64(file.count))
        #expect(UInt64(segment.file.count) <= segment.byteCount)
        #expect(segment.address + segment.byteCount <= 1 << 32)
      }
    }
    // Both outcomes must occur, or the test looks at one side only.
    #expect(loaded > 100 && loaded < 5_900)
  }
}
