import Foundation
import Testing

@Suite("penumbra play")
struct PlayTests {
  private static let good = """
    name: a write is read back
    steps:
      - memslot: {id: 0, gpa: 0, size: 1MiB}
      - guest-physical-access: {kind: write, gpa: 0x1008, value: 0x2a}
        expect: {gpa: 0x1008}
      - read: {gpa: 0x1008}
        expect: {u64: 0x2a}

    """
  private static let bad = good.replacing("{u64: 0x2a}", with: "{u64: 0x2b}")

  /// Plays a text as a file.
  private func play(_ text: String, _ options: [String] = []) throws -> Tool.Result {
    try Tool.withFile(Array(text.utf8)) { try Tool.run(["play"] + options + [$0]) }
  }

  private func objects(_ result: Tool.Result) throws -> [[String: Any]] {
    try result.lines.map { line in
      try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    }
  }

  // MARK: What comes out

  @Test("a scenario that holds is one line, a count, and exit status 0")
  func passed() throws {
    let result = try play(Self.good)
    #expect(result.status == 0 && result.errors.isEmpty)
    #expect(result.lines.count == 2)
    #expect(result.lines.first?.hasPrefix("ok      ") == true)
    #expect(result.lines.first?.hasSuffix(": a write is read back") == true)
    #expect(result.lines.last == "1 scenario: 1 passed, 0 failed")
  }

  @Test("one that fails shows step, line, both values and the trip, with exit status 1")
  func failed() throws {
    let result = try play(Self.bad)
    #expect(result.status == 1)
    #expect(result.errors == "penumbra: 1 of 1 scenario failed\n")
    #expect(result.lines.first?.hasPrefix("FAILED  ") == true)
    #expect(result.output.contains("  step 3, "))
    #expect(result.output.contains(":6: read: {gpa: 0x1008}\n"))
    #expect(result.output.contains("    expected  u64: 0x2b\n    came      u64: 0x2a\n"))
    #expect(result.output.contains("    trip      memslot 0: frames 0x0 to 0xff"))
    #expect(result.lines.last == "1 scenario: 0 passed, 1 failed")
  }

  @Test("a failing scenario ends at its first failure, and the others are played")
  func several() throws {
    try Tool.withFile(Array((Self.bad + "  - read: {gpa: 0}\n").utf8)) { bad in
      try Tool.withFile(Array(Self.good.utf8)) { good in
        let result = try Tool.run(["play", bad, good])
        #expect(result.status == 1)
        #expect(!result.output.contains("step 4"))
        #expect(result.output.contains("ok      \(good)"))
        #expect(result.lines.last == "2 scenarios: 1 passed, 1 failed")
      }
    }
  }

  @Test("json is one object a line, a step each: scenario, step, outcome, pass")
  func json() throws {
    let result = try play(Self.bad, ["--format", "json"])
    #expect(result.status == 1)
    let steps = try objects(result)
    #expect(steps.count == 3)
    #expect(steps.map { $0["step"] as? Int } == [1, 2, 3])
    #expect(steps.map { $0["line"] as? Int } == [3, 4, 6])
    #expect(steps.map { $0["pass"] as? Bool } == [true, true, false])
    #expect(steps.allSatisfy { $0["scenario"] is String })
    let outcomes = steps.map { $0["outcome"] as? [String: Any] }
    #expect(outcomes[0]?["ok"] as? Bool == true)
    #expect(outcomes[1]?["gpa"] as? String == "0x1008")
    #expect(outcomes[1]?["value"] as? String == "0x2a")
    #expect(outcomes[2]?["u64"] as? [String] == ["0x2a"])
    #expect(steps[2]["expected"] as? String == "u64: 0x2b")
    #expect(steps[2]["found"] as? String == "u64: 0x2a")
    #expect((steps[2]["trip"] as? [String])?.first?.hasPrefix("memslot 0") == true)
    #expect(steps[0]["trip"] == nil && steps[0]["expected"] == nil)
  }

  @Test("--explain tells every step, in text and in json")
  func explain() throws {
    let text = try play(Self.good, ["--explain"])
    #expect(text.status == 0)
    for number in 1...3 { #expect(text.output.contains("  step \(number), ")) }
    #expect(text.output.contains("    trip      memslot 0: "))
    #expect(text.output.contains("EPT level 1 at 0x"))
    let json = try objects(try play(Self.good, ["--explain", "--format", "json"]))
    #expect((json[1]["trip"] as? [String])?.isEmpty == false)
  }

  @Test("--check looks at every invariant and changes nothing else")
  func check() throws {
    let plain = try play(Self.good, ["--format", "json"])
    let checked = try play(Self.good, ["--format", "json", "--check"])
    #expect(checked.status == 0)
    #expect(plain.lines.count == checked.lines.count)
  }

  @Test("a folder stands for the files below it, in the order of their names")
  func folder() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-play-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let inner = folder.appendingPathComponent("b/c")
    try FileManager.default.createDirectory(at: inner, withIntermediateDirectories: true)
    let empty = try Tool.run(["play", folder.path])
    #expect(empty.status == 2)
    #expect(empty.errors.contains("at least one file that ends in .yaml was expected"))
    try Data(Self.good.utf8).write(to: folder.appendingPathComponent("z.yaml"))
    try Data(Self.good.utf8).write(to: inner.appendingPathComponent("y.yml"))
    try Data("no scenario".utf8).write(to: folder.appendingPathComponent("a.txt"))
    let result = try Tool.run(["play", folder.path])
    #expect(result.status == 0)
    #expect(result.lines.count == 3)
    #expect(result.lines[0].contains("/b/c/y.yml: "))
    #expect(result.lines[1].contains("/z.yaml: "))
  }

  @Test("the examples of the documentation hold, and its failure reads as it says")
  func documentation() throws {
    let page = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Documentation/Penumbra.docc/Scenarios.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    let examples = text.components(separatedBy: "```yaml\n").dropFirst()
      .compactMap { $0.components(separatedBy: "```").first }
    #expect(examples.count == 3)
    for example in examples {
      let result = try play(example, ["--check"])
      #expect(result.status == 0, "\(result.output)")
    }
    let spoilt = try #require(examples.first).replacing("u64: 0x5067", with: "u64: 0x5047")
    let failure = try play(spoilt)
    #expect(failure.status == 1)
    let shown = text.components(separatedBy: "```console\n").dropFirst().first ?? ""
    for line in failure.lines where line.hasPrefix("    ") {
      #expect(shown.contains(line), "\(line)")
    }
  }

  @Test("lines may end as on other systems")
  func lineEnds() throws {
    let text = Self.bad.replacing("\n", with: "\r\n")
    let result = try play(text)
    #expect(result.status == 1)
    #expect(result.output.contains(":6: read: "))
    #expect(try play("\u{FEFF}" + Self.good).status == 0)
  }

  // MARK: What is no scenario

  @Test(
    "every mistake is one line that says where, what and what was expected, with exit status 2",
    arguments: [
      ("", ":1: a mapping with name and steps was expected"),
      ("name: n\nsteps:\n", ":2: scenario: steps: nothing; a list of steps was expected"),
      ("name: n\nsteps:\n  - memslot: {id: 0, size: ", ":4: YAML was expected"),
      ("name: n\nsteps:\n  - read: {gpa: \"0x1", ": YAML was expected"),
      ("name: n\nsteps:\n  - read: {gpa: 999999999999999999999999}\n", ":3: read: gpa: \"9999"),
      ("name: n\nsteps:\n  - read: {gpa: -1}\n", ":3: read: gpa: \"-1\"; a number was expected"),
      (
        "name: n\nsteps:\n  - memslot: {id: 0, size: 18446744073709551615GiB}\n",
        ":3: memslot: size"
      ),
      ("name: n\nsteps:\n  - read: {gpa: 0, gpa: 1}\n", ":3: each key once was expected; gpa"),
      ("name: n\nsteps:\n  - read: {gap: 0}\n", ":3: read: unknown key \"gap\"; gpa, size"),
      ("name: n\nsteps:\n  - raed: {gpa: 0}\n", ":3: unknown step \"raed\""),
      ("name: n\nsteps:\n  - dirty-log: {slot: 0}\n", ":3: step dirty-log is not built yet"),
      ("name: n\nvm: {kind: trust-domain}\nsteps: []\n", ":2: kind: trust-domain is not built"),
      ("name: n\nmachine: {host-memory: 1EiB}\nsteps: []\n", ":2: machine: host-memory"),
      ("name: n\nvm: {vcpus: 65}\nsteps: []\n", ":2: vm: vcpus: \"65\"; a number from 1 to 64"),
      ("name: n\nsteps:\n  - host: {merge: {gpa: 0, size: 1TiB}}\n", ":3: host: merge: size"),
      ("name: n\na: &a [1]\nsteps: [*a, *a]\n", ":2: scenarios have no anchors and aliases"),
      ("name: n\nsteps: []\n---\nname: n\nsteps: []\n", ":3: YAML was expected"),
      ("\u{0}\u{0}\u{0}", "UTF-8 text was expected"),
    ])
  func mistakes(text: String, expected: String) throws {
    let result = try play(text)
    #expect(result.status == 2)
    #expect(result.output.isEmpty)
    #expect(result.errors.hasPrefix("penumbra: "))
    #expect(result.errors.contains(expected), "\(result.errors)")
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }

  @Test("files that cannot be read as one are named, with exit status 2")
  func unreadable() throws {
    for name in ["/nowhere/at/all.yaml", "/dev/null", "/dev/zero", "/proc/self/mem"] {
      let result = try Tool.run(["play", name])
      #expect(result.status == 2)
      #expect(result.errors.contains(name))
      #expect(result.errors.filter { $0 == "\n" }.count == 1)
    }
    #expect(try Tool.run(["play"]).status == 2)
  }

  @Test("noise ends with one line, whatever it is", arguments: 0..<8)
  func noise(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var bytes = Array(Self.good.utf8)
    if seed < 2 {
      bytes = (0..<5000).map { _ in UInt8.random(in: 0...255, using: &random) }
    } else {
      for _ in 0..<4 {
        bytes[Int.random(in: 0..<bytes.count, using: &random)] =
          seed < 5
          ? UInt8.random(in: 0x20...0x7E, using: &random)
          : Array("{}[]:,-&*!|>'\"%@`#?".utf8).randomElement(using: &random) ?? 0
      }
    }
    let result = try Tool.withFile(bytes) { try Tool.run(["play", $0]) }
    #expect((0...2).contains(result.status))
    #expect(result.errors.filter { $0 == "\n" }.count == (result.status == 0 ? 0 : 1))
  }

  @Test("lists inside of lists inside of lists end with one line")
  func nesting() throws {
    for text in [
      "name: n\nsteps: " + String(repeating: "[", count: 50_000),
      "name: n\nsteps: " + String(repeating: "{a: ", count: 20_000),
    ] {
      let result = try play(text)
      #expect(result.status == 2)
      #expect(result.errors.contains(":2: lists and mappings in so many others were not expected"))
    }
  }

  // MARK: What is large

  @Test("a machine of 1 TiB with 64 processors is played as quickly as a small one")
  func large() throws {
    var text = """
      name: a large machine
      machine: {host-memory: 1TiB}
      vm: {vcpus: 64}
      steps:
        - memslot: {id: 0, gpa: 0, size: 1TiB}
          expect: ok

      """
    for processor in 0..<64 {
      text += "  - guest-physical-access: {vcpu: \(processor), kind: write, gpa: "
      text += "\(processor * 16)GiB, value: \(processor)}\n    expect: {value: \(processor)}\n"
    }
    text += "  - check:\n    expect: ok\n  - zap-all\n"
    let start = ContinuousClock.now
    #expect(try play(text).status == 0)
    #expect(ContinuousClock.now - start < .seconds(30))
  }

  @Test(
    "what the host does to a large range that is hardly used is quick",
    arguments: [
      "swap-out", "swap-in", "migrate", "unmap", "write-protect", "copy-on-write", "merge",
      "collapse", "split", "age", "test-age", "poison", "protect-none",
    ])
  func largeRange(action: String) throws {
    let text = """
      name: a large range
      machine: {host-memory: 64GiB}
      steps:
        - memslot: {id: 0, gpa: 0, size: 32GiB}
        - guest-physical-access: {kind: write, gpa: 0x1000, value: 7}
        - host: {\(action): {gpa: 0, size: 1GiB}}
        - check:
          expect: ok

      """
    let start = ContinuousClock.now
    #expect(try play(text).status == 0)
    #expect(ContinuousClock.now - start < .seconds(30))
  }
}
