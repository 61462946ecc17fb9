import Testing

/// Guest memory of a few frames, written word by word.
private struct Frames {
  var bytes: [UInt8]

  init(_ count: Int) { bytes = Array(repeating: 0, count: count * 4096) }

  mutating func put(_ word: UInt64, at offset: Int, width: Int = 8) {
    for index in 0..<width {
      bytes[offset + index] = UInt8(truncatingIfNeeded: word >> (index * 8))
    }
  }
}

@Suite("Raw images in every mode")
struct RawImageTests {
  /// The physical address and page size that `arguments` give, as text.
  private func answer(_ image: Frames, at base: String, _ arguments: [String]) throws -> String {
    try Tool.withFile(image.bytes) { file in
      let result = try Tool.run(
        ["translate", "--format", "json", "--image", file + base] + arguments)
      #expect(result.status == 0, "\(result.errors)")
      let match = result.output.firstMatch(of: /"gpa":"(\w+)","page_size":(\d+)/)
      return match.map { "\($0.1) \($0.2)" } ?? result.output
    }
  }

  @Test("32-bit paging: a 4 KiB page, a 4 MiB page beyond 4 GiB, and nothing above 32 bits")
  func bits32() throws {
    var image = Frames(2)
    image.put(0x11_1007, at: 0, width: 4)
    image.put(0x5000_0007, at: 4096 + 4 * 3, width: 4)
    // Bits 16:13 are bits 35:32 of the address.
    image.put(0x4040_0087 | 1 << 13, at: 4 * 1, width: 4)
    let registers = [
      "--cr0", "0x80000011", "--cr4", "0x10", "--efer", "0", "--cr3", "0x110000",
    ]
    #expect(try answer(image, at: "@0x110000", registers + ["0x3456"]) == "0x50000456 4096")
    #expect(
      try answer(image, at: "@0x110000", registers + ["0x412345"]) == "0x140412345 4194304")
    #expect(
      try answer(image, at: "@0x110000", registers + ["0x100000000"])
        .contains(#""reason":"beyond 32 bits""#))
  }

  @Test("PAE paging: PDPTEs come from anywhere on a 32-byte boundary")
  func pae() throws {
    var image = Frames(3)
    image.put(0x2001, at: 0x20 + 8 * 3)
    image.put(0x7_0000_00E7, at: 4096 + 8 * 511)
    let registers = ["--cr0", "0x80000011", "--cr4", "0x20", "--efer", "0x800", "--cr3", "0x1020"]
    #expect(
      try answer(image, at: "@4KiB", registers + ["0xffe12345"]) == "0x700012345 2097152")
    #expect(
      try answer(image, at: "@4KiB", registers + ["--phys-bits", "35", "0xffe12345"])
        == "0x700012345 2097152")
    #expect(
      try answer(image, at: "@4KiB", registers + ["--phys-bits", "34", "0xffe12345"])
        .contains(#""fault":{"error_code":"0x9"}"#))
    image.put(0x2007, at: 0x20 + 8 * 3)
    try Tool.withFile(image.bytes) { file in
      let result = try Tool.run(
        ["translate", "--image", file + "@4KiB"] + registers + ["0"])
      #expect(result.status == 2)
      #expect(result.errors.contains("PDPTE 3 has a reserved bit set"))
    }
  }

  @Test("5-level paging reaches beyond 47 bits")
  func fiveLevels() throws {
    var image = Frames(3)
    image.put(0x1003, at: 8 * 7)
    image.put(0x2003, at: 4096)
    image.put(0xC000_0083, at: 8192 + 8)
    let registers = ["--cr4", "0x1020", "--cr3", "0"]
    let address = String((7 as UInt64) << 48 | 1 << 30 | 0x1234)
    #expect(try answer(image, at: "", registers + [address]) == "0xc0001234 1073741824")
  }

  @Test("a second dimension is walked for every table and for the page")
  func nested() throws {
    // The inner guest's address 0x10000 + n lies at 0x4000 + n: four tables and a page.
    var image = Frames(16)
    image.put(0x1007, at: 0)
    image.put(0x2007, at: 0x1000)
    image.put(0x3007, at: 0x2000)
    for frame in 0..<5 as Range<UInt64> {
      image.put((4 + frame) << 12 | 0x37, at: 0x3000 + Int(16 + frame) * 8)
    }
    image.put(0x11003, at: 0x4000)
    image.put(0x12003, at: 0x5000)
    image.put(0x13003, at: 0x6000)
    image.put(0x14003, at: 0x7000 + 8 * 2)
    image.put(0x99003, at: 0x7000 + 8 * 3)
    let registers = ["--cr3", "0x10000", "--nested-root", "0x1e"]
    #expect(try answer(image, at: "", registers + ["0x2345"]) == "0x8345 4096")
    #expect(
      try answer(image, at: "", registers + ["0x3345"])
        .contains(
          #""fault":{"error_code":"0x4","reason":"second dimension: entry not present","#
            + #""nested_gpa":"0x99345"}"#))
    try Tool.withFile(image.bytes) { file in
      let explained = try Tool.run(
        ["translate", "--explain", "--image", file] + registers + ["0x2345"])
      #expect(explained.lines.count == 1 + 5 * 4 + 4 + 1)
      let listed = try Tool.run(["map", "--pages", "--image", file] + registers)
      #expect(listed.lines.count == 2)
    }
  }

  @Test("a table that points to itself is a stated limit, not an endless list")
  func selfReference() throws {
    var image = Frames(1)
    for index in 0..<512 { image.put(0x3, at: index * 8) }
    try Tool.withFile(image.bytes) { file in
      let result = try Tool.run(["map", "--image", file, "--cr3", "0", "--table-limit", "600"])
      #expect(result.status == 3)
      #expect(result.errors.contains("--table-limit 600"))
      let translated = try Tool.run(["translate", "--image", file, "--cr3", "0", "0x12345"])
      #expect(translated.status == 0)
      #expect(translated.output.contains("0x0000000000000345 4K"))
    }
  }

  @Test("several images make one memory, and may not contradict each other")
  func severalImages() throws {
    var root = Frames(1)
    root.put(0x5003, at: 0)
    var table = Frames(1)
    table.put(0x4000_0083, at: 8)
    try Tool.withFile(root.bytes) { first in
      try Tool.withFile(table.bytes) { second in
        let both = try Tool.run([
          "translate", "--image", first + "@0x1000", "--image", second + "@0x5000", "--cr3",
          "0x1000", "0x40000010",
        ])
        #expect(both.output.contains("0x0000000040000010 1G"))
        let clash = try Tool.run([
          "translate", "--image", first, "--image", second, "--cr3", "0", "0",
        ])
        #expect(clash.status == 2)
        #expect(clash.errors.contains("different bytes at guest-physical 0x0"))
      }
    }
  }
}
