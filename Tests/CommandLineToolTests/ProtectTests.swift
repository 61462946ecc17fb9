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
    #expect(rows == [["writes", "exits"], ["6024", "9"], ["6024", "6025"]])
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
    #expect(counts?["exits_by_pages"] as? Int == 6025)
  }

  @Test(
    "refuses what cannot be protected, in one line",
    arguments: [
      (["nothing"], "no symbol nothing"), (["0x1000"], "no symbol 0x1000"),
      (["0x1000:0"], "a length were expected"), (["0x1000:x"], "a length were expected"),
      (["0x100000000:8"], "guest memory was expected there"),
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
}
