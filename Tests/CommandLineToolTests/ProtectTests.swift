import Foundation
import Testing

@Suite("penumbra run --protect")
struct ProtectTests {
  private static let image = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Guests/Prebuilt/neighbours.elf").path

  private func run(_ arguments: String...) throws -> Tool.Result {
    try Tool.run(["run", Self.image] + arguments)
  }

  /// The refused writes that a run reports.
  private func refusals(_ result: Tool.Result) -> [Substring] {
    result.errors.split(separator: "\n").filter { $0.hasPrefix("refused: ") }
  }

  @Test("reports exactly the stores into a symbol, and leaves the guest as it is")
  func symbol() throws {
    let plain = try run()
    let result = try run("--protect", "vault")
    #expect(result.status == plain.status)
    #expect(result.output == plain.output)
    let words = [
      "8 bytes at 0x10e080: 0x0 -> 0xc8, by * <settle+*",
      "8 bytes at 0x10e080: 0xc8 -> 0x258, by * <settle+*",
      "8 bytes at 0x10e080: 0x258 -> 0x4b0, by * <settle+*",
      "8 bytes at 0x10e080: 0x4b0 -> 0x7d0, by * <settle+*",
      "8 bytes at 0x10e080: 0x7d0 -> 0xbb8, by * <settle+*",
      "1 byte at 0x10e080: 0xb8 -> 0x77, by * <guest_main+*",
      "1 byte at 0x10e0ff: 0x0 -> 0x5a, by * <forge+*",
      "8 bytes at 0x10e0fc: 0xf46285a000000 -> 0x1122334455667788, by * <forge+*",
    ]
    let lines = refusals(result)
    #expect(lines.count == words.count)
    for (line, word) in zip(lines, words) {
      var rest = line.dropFirst("refused: ".count)
      for part in word.split(separator: "*") {
        let found = try #require(rest.range(of: part), "\(line) for \(word)")
        rest = rest[found.upperBound...]
      }
    }
    #expect(
      result.errors.contains(
        "8 writes to protected bytes, 0 beside them in the same 128 bytes, 6016 to the same pages "
          + "at full speed"))
  }

  @Test("shows what protecting whole pages would have cost")
  func table() throws {
    let rows = try run("--protect", "vault").errors.split(separator: "\n").suffix(3).map {
      $0.split(separator: " ", omittingEmptySubsequences: true).suffix(2).map(String.init)
    }
    #expect(rows == [["writes", "exits"], ["6024", "9"], ["6024", "6024"]])
  }

  @Test("bytes are told from their neighbours in the same 128")
  func fewBytes() throws {
    let result = try run("--protect", "0x10e0ff:1")
    #expect(refusals(result).count == 2)
    #expect(
      result.errors.contains("2 writes to protected bytes, 6 beside them in the same 128 bytes"))
  }

  @Test("several places are protected at once")
  func severalPlaces() throws {
    let result = try run("--protect", "0x10e0ff:1", "--protect", "0x10e000:8")
    #expect(refusals(result).count == 1002)
  }

  @Test("a guest whose own tables are protected runs on, and its stores to them are reported")
  func tables() throws {
    let plain = try run()
    // Its tables of four levels, which it writes while paging is off.
    let result = try run("--protect", "0x102000:0x3000")
    #expect(result.status == plain.status && result.output == plain.output, "\(result.errors)")
    let lines = refusals(result)
    #expect(lines.contains { $0.contains(" at 0x102000: 0x0 -> 0x103003") }, "\(result.errors)")
    #expect(lines.allSatisfy { $0.contains("<enter+") })
    #expect(result.errors.contains("\(lines.count) writes to protected bytes, 0 beside them"))
  }

  @Test(
    "walks mark a guest's entries in protected bytes, so that it sees the bits that it waits for",
    arguments: ["paging32", "pae"])
  func marks(guest: String) throws {
    let image = Self.image.replacing("neighbours", with: guest)
    let plain = try Tool.run(["run", image])
    let result = try Tool.run(["run", image, "--protect", "0x200000:14MiB"])
    #expect(result.status == plain.status && result.output == plain.output, "\(result.output)")
    #expect(refusals(result).count == 10_000 && result.errors.contains("\nand "))
  }

  @Test("all memory, and any two ranges that share bytes, can be protected")
  func ranges() throws {
    let plain = try run()
    let all = try run("--protect", "0:128MiB")
    #expect(all.status == plain.status && all.output == plain.output, "\(all.errors)")
    let twice = try run("--protect", "vault", "--protect", "0x10e0c0:64", "--protect", "vault")
    #expect(refusals(twice).count == 8 && twice.output == plain.output)
    let high = try run("--protect", "0x100000000:8", "--memory", "4GiB")
    #expect(high.status == plain.status && refusals(high) == [])
  }

  @Test("stops before the first refused write, with a status of its own and nothing stored")
  func stops() throws {
    let result = try run("--protect", "vault", "--protect-action", "stop")
    #expect(result.status == 116)
    #expect(result.output == "")
    let lines = refusals(result)
    #expect(lines.count == 1)
    #expect(lines.first?.contains("8 bytes at 0x10e080: 0x0 not made, by ") == true)
  }

  @Test("writes JSON objects")
  func json() throws {
    let result = try run("--protect", "vault", "--format", "json")
    let objects = try result.lines.map {
      try #require(
        try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any], "\($0)")
    }
    let refused = objects.compactMap { $0["refused"] as? [String: Any] }
    #expect(refused.count == 8)
    #expect(refused.last?["new"] as? String == "0x1122334455667788")
    #expect(refused.first?["function"] as? String == "settle+0x4")
    let counts = objects.first { $0["protected_writes"] != nil }
    #expect(counts?["full_speed_writes"] as? Int == 6016)
    #expect(counts?["exits_by_128_bytes"] as? Int == 9)
    #expect(counts?["exits_by_pages"] as? Int == 6024)
  }

  @Test(
    "refuses what cannot be protected, in one line",
    arguments: [
      (["nothing"], "no symbol nothing with a size; a symbol, or an address, a colon"),
      (["0x1000"], "no symbol 0x1000 with a size; a symbol, or an address, a colon"),
      (["0x1000:0"], "a length were expected"), (["0x1000:x"], "a length were expected"),
      ([":8"], "a length were expected"), (["vault:8"], "a length were expected"),
      (
        ["0x100000000:8"],
        "0x100000000:0x8: guest memory was expected there, which is 0x0 to 0x7ffffff"
      ),
      (["0x7fffff8:9"], "0x7fffff8:0x9: guest memory was expected there"),
      (["0xffffffffffffffff:1"], "guest memory was expected there"),
      (["1:0xffffffffffffffff"], "guest memory was expected there"),
      (
        ["0x100000000:8", "--memory", "4GiB", "--protect", "0xfee00000:4"],
        "0xfee00000:0x4: guest memory was expected there, which is 0x0 to 0xbfffffff and "
          + "0x100000000 to 0x13fffffff"
      ),
      (["vault", "--vendor", "amd"], "--vendor intel"),
      (["vault", "--mmu", "shadow"], "--mmu direct"),
    ])
  func mistakes(arguments: [String], expected: String) throws {
    let result = try Tool.run(["run", Self.image, "--protect"] + arguments)
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(result.errors.contains(expected), "\(result.errors)")
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }

  @Test("an action without anything protected, and an image without names, are mistakes")
  func nothingProtected() throws {
    let action = try Tool.run(["run", "--protect-action", "stop"])
    #expect(action.status == 2)
    #expect(action.errors == "penumbra: --protect-action: --protect was expected with it\n")
    let stripped = Self.image.replacing("neighbours.elf", with: "spaces.elf")
    let nameless = try Tool.run(["run", stripped, "--protect", "vault"])
    #expect(nameless.status == 2 && nameless.output == "")
    #expect(nameless.errors.contains("no symbols; an address, a colon and a length were expected"))
  }

  @Test("a symbol whose size reaches beyond all addresses is not one that can be protected")
  func endlessSymbol() throws {
    var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: Self.image)))
    // The entry of the symbol table: the object's address, then its size.
    let entry: [UInt8] = [0x80, 0xE0, 0x10, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]
    let place = try #require(bytes.firstRange(of: entry))
    for index in 8..<16 { bytes[place.lowerBound + index] = 0xFF }
    try Tool.withFile(bytes) { file in
      let plain = try run()
      #expect(try Tool.run(["run", file]).output == plain.output)
      let result = try Tool.run(["run", file, "--protect", "vault"])
      #expect(result.status == 2 && result.errors.contains("no symbol vault with a size"))
    }
  }
}
