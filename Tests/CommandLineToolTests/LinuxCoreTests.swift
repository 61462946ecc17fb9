import Foundation
import Testing

/// A line of JSON as the contract has it.
private struct Line: Decodable {
  struct Fault: Decodable {
    let error_code: String
  }
  let gva: String
  let gpa: String?
  let page_size: UInt64?
  let writable: Bool?
  let user: Bool?
  let executable: Bool?
  let accessed: Bool?
  let dirty: Bool?
  let global: Bool?
  let write_through: Bool?
  let cache_disable: Bool?
  let fault: Fault?

  /// The rights and marks by the monitor's letters, cache bits as given.
  func flags(cache: String) -> String {
    let letters: [(Bool?, String)] = [
      (executable.map { !$0 }, "X"), (global, "G"), (page_size != 4096, "P"), (dirty, "D"),
      (accessed, "A"),
    ]
    let ends: [(Bool?, String)] = [(user, "U"), (writable, "W")]
    func spelled(_ list: [(Bool?, String)]) -> String {
      list.map { $0.0 == true ? $0.1 : "-" }.joined()
    }
    return spelled(letters) + cache + spelled(ends)
  }

  var cacheFlags: String {
    (cache_disable == true ? "C" : "-") + (write_through == true ? "T" : "-")
  }
}

private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

@Suite("The page tables of a real Linux guest")
struct LinuxCoreTests {
  private func decoded(_ result: Tool.Result) throws -> [Line] {
    let decoder = JSONDecoder()
    return try result.lines.map { try decoder.decode(Line.self, from: Data($0.utf8)) }
  }

  @Test("map --pages agrees with the monitor's listing in each of 8,349 lines")
  func listing() throws {
    let monitor = try MonitorListing()
    try #require(monitor.pages.count == 8349)
    let result = try Tool.run(["map", "--core", Tool.linuxCore, "--pages", "--format", "json"])
    #expect(result.status == 0)
    #expect(result.errors == "")
    let lines = try decoded(result)
    try #require(lines.count == monitor.pages.count)
    for (line, page) in zip(lines, monitor.pages) {
      #expect(line.gva == hex(page.linear))
      #expect(line.gpa == hex(page.physical))
      #expect(line.page_size == page.byteCount)
      #expect(line.flags(cache: line.cacheFlags) == page.flags, "at \(line.gva)")
    }
  }

  @Test("map --pages says the same in text")
  func textListing() throws {
    let monitor = try MonitorListing()
    let result = try Tool.run(["map", "--core", Tool.linuxCore, "--pages"])
    try #require(result.lines.count == monitor.pages.count)
    for (line, page) in zip(result.lines, monitor.pages) {
      func letter(_ name: String) -> String { page.flags.contains(name) ? name : "-" }
      let rights =
        "r" + letter("W").lowercased() + (page.flags.contains("X") ? "-" : "x")
        + letter("U").lowercased()
      let marks = ["G", "P", "D", "A", "C", "T"].map(letter).joined()
      let linear = String(page.linear, radix: 16)
      let physical = String(page.physical, radix: 16)
      let expected =
        "0x" + String(repeating: "0", count: 16 - linear.count) + linear + " 0x"
        + String(repeating: "0", count: 16 - physical.count) + physical
        + (page.byteCount == 4096 ? " 4K " : " 2M ") + rights + " " + marks
      #expect(line == expected)
    }
  }

  @Test("map merges neighbours of equal rights and covers exactly the listed pages")
  func ranges() throws {
    struct Run: Decodable {
      let gva: String
      let last: String
      let size: UInt64
      let writable: Bool
      let user: Bool
      let executable: Bool
    }
    var expected: [(UInt64, UInt64, String)] = []
    for page in try MonitorListing().pages {
      let rights = ["X", "U", "W"].filter { page.flags.contains($0) }.joined()
      if let run = expected.last, run.1 &+ 1 == page.linear, run.2 == rights {
        expected[expected.count - 1].1 = page.linear + (page.byteCount - 1)
      } else {
        expected.append((page.linear, page.linear + (page.byteCount - 1), rights))
      }
    }
    let result = try Tool.run(["map", "--core", Tool.linuxCore, "--format", "json"])
    let runs = try result.lines.map { try JSONDecoder().decode(Run.self, from: Data($0.utf8)) }
    try #require(runs.count == expected.count)
    for (run, (first, last, rights)) in zip(runs, expected) {
      #expect(run.gva == hex(first))
      #expect(run.last == hex(last))
      #expect(run.size == last - first + 1)
      #expect(
        (run.executable ? "" : "X") + (run.user ? "U" : "") + (run.writable ? "W" : "") == rights)
    }
    let text = try Tool.run(["map", "--core", Tool.linuxCore])
    #expect(text.lines.count == runs.count)
  }

  @Test("translate agrees on every page, at its first and at its last byte")
  func everyPage() throws {
    let pages = try MonitorListing().pages
    let addresses = pages.flatMap { [$0.linear, $0.linear + ($0.byteCount - 1)] }
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--format", "json", "-"],
      input: addresses.map(hex).joined(separator: "\n"))
    #expect(result.status == 0)
    let lines = try decoded(result)
    try #require(lines.count == addresses.count)
    for (index, line) in lines.enumerated() {
      let page = pages[index / 2]
      let offset = index % 2 == 0 ? 0 : page.byteCount - 1
      #expect(line.gva == hex(page.linear + offset))
      #expect(line.gpa == hex(page.physical + offset))
      #expect(line.page_size == page.byteCount)
      #expect(line.flags(cache: String(page.flags.dropFirst(5).prefix(2))) == page.flags)
    }
  }

  @Test("translate agrees on 100,000 addresses in, between and around the pages")
  func between() throws {
    let monitor = try MonitorListing()
    var chance = SeededGenerator(seed: 0x7EA5)
    let addresses = (0..<100_000).map { _ -> UInt64 in
      let page = monitor.pages.randomElement(using: &chance)?.linear ?? 0
      let near = page &+ UInt64.random(in: 0..<(8 << 20), using: &chance) &- (4 << 20)
      let anywhere = UInt64.random(in: 0...UInt64.max, using: &chance)
      switch UInt8.random(in: 0..<4, using: &chance) {
      case 0: return page &+ UInt64.random(in: 0..<8192, using: &chance) &- 2048
      case 1: return anywhere
      default: return near
      }
    }
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--format", "json", "-"],
      input: addresses.map { $0 % 3 == 0 ? String($0) : hex($0) }.joined(separator: "\n") + "\n")
    #expect(result.status == 0)
    try #require(result.lines.count == addresses.count)
    var mapped = 0
    for (address, line) in zip(addresses, result.lines) {
      let isCanonical = address >> 47 == 0 || address >> 47 == 0x1_FFFF
      if let page = monitor.page(of: address) {
        mapped += 1
        let expected = page.physical + (address - page.linear)
        #expect(
          line.hasPrefix(#"{"gva":"\#(hex(address))","gpa":"\#(hex(expected))","page_size":"#))
      } else if isCanonical {
        #expect(line == #"{"gva":"\#(hex(address))","fault":{"error_code":"0x0"}}"#)
      } else {
        #expect(line.contains(##""exception":"#GP""##))
      }
    }
    #expect(20_000..<80_000 ~= mapped, "\(mapped) addresses were mapped")
  }
}
