import Foundation
import Testing

@Suite("penumbra fuzz")
struct FuzzTests {
  @Test("prints its seed and a digest, the same bytes each time, and leaves with 0")
  func repeats() throws {
    let first = try Tool.run(["fuzz", "--seed", "21", "--runs", "3", "--steps", "100"])
    #expect(first.status == 0)
    #expect(first.lines.first == "seed 21")
    #expect(first.lines.contains("runs 3"))
    #expect(first.lines.contains("steps 300"))
    #expect(first.lines.last?.hasPrefix("digest ") == true)
    #expect(first.errors.contains("steps/s"))
    let second = try Tool.run(["fuzz", "--seed", "21", "--runs", "3", "--steps", "100"])
    #expect(first.output == second.output)
    let other = try Tool.run(["fuzz", "--seed", "22", "--runs", "3", "--steps", "100"])
    #expect(first.output != other.output)
  }

  @Test("chooses a seed when it gets none, and prints it")
  func chosenSeed() throws {
    let result = try Tool.run(["fuzz", "--runs", "1", "--steps", "20"])
    let seed = try #require(result.lines.first?.split(separator: " ").last)
    let again = try Tool.run(["fuzz", "--seed", String(seed), "--runs", "1", "--steps", "20"])
    #expect(result.output == again.output)
  }

  @Test("is over after the time, and did whole runs")
  func time() throws {
    let result = try Tool.run(["fuzz", "--seed", "1", "--time", "1", "--steps", "40"])
    #expect(result.status == 0)
    let runs = try #require(result.lines.first { $0.hasPrefix("runs ") }?.dropFirst(5))
    let count = try #require(Int(runs))
    #expect(count > 0)
    #expect(result.lines.contains("steps \(count * 40)"))
    // The time decides how far it goes, not what happens.
    let again = try Tool.run([
      "fuzz", "--seed", "1", "--runs", String(runs), "--steps", "40", "--time", "600",
    ])
    #expect(again.output == result.output)
  }

  @Test("writes one JSON object a session")
  func json() throws {
    let result = try Tool.run([
      "fuzz", "--seed", "5", "--runs", "2", "--steps", "50", "--format", "json", "--focus", "host",
    ])
    #expect(result.lines.count == 1)
    let object = try JSONSerialization.jsonObject(with: Data(result.output.utf8))
    let fields = try #require(object as? [String: Any])
    #expect(fields["seed"] as? Int == 5)
    #expect(fields["runs"] as? Int == 2)
    #expect(fields["steps"] as? Int == 100)
    #expect((fields["digest"] as? String)?.count == 16)
  }

  @Test("keeps what reaches something new in a folder, and starts from it")
  func corpus() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-corpus-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let arguments = ["fuzz", "--runs", "6", "--steps", "80", "--corpus", folder]
    #expect(try Tool.run(arguments + ["--seed", "1"]).status == 0)
    let files = try FileManager.default.contentsOfDirectory(atPath: folder)
    #expect(!files.isEmpty)
    #expect(try Tool.run(["play", folder]).status == 0)
    let second = try Tool.run(arguments + ["--seed", "50"])
    #expect(second.status == 0)
    try "steps: [nonsense]".write(toFile: folder + "/a.yaml", atomically: true, encoding: .utf8)
    let spoilt = try Tool.run(arguments + ["--seed", "50"])
    #expect(spoilt.status == 2)
    #expect(spoilt.errors.contains("a.yaml"))
  }

  @Test("writes the scenario of a run, which play can play")
  func writeRun() throws {
    try Tool.withFile([]) { file in
      let written = try Tool.run([
        "fuzz", "--seed", "3", "--steps", "200", "--write-run", file,
      ])
      #expect(written.status == 0)
      #expect(written.output.isEmpty)
      let played = try Tool.run(["play", file])
      #expect(played.status == 0)
      #expect(played.output.contains("run of seed 3"))
    }
  }

  @Test("refuses what is not built or makes no sense, with 2 and the option's name")
  func refusals() throws {
    for focus in ["nested", "private"] {
      let result = try Tool.run(["fuzz", "--focus", focus])
      #expect(result.status == 2)
      #expect(result.errors.contains("\(focus) is not built yet"))
    }
    for (option, value) in [
      ("--focus", "everything"), ("--steps", "0"), ("--runs", "0"), ("--time", "0"),
      ("--seed", "first"), ("--steps", "many"),
    ] {
      let result = try Tool.run(["fuzz", option, value])
      #expect(result.status == 2)
      #expect(result.errors.contains(option))
      #expect(result.output.isEmpty)
    }
    let place = try Tool.run([
      "fuzz", "--seed", "1", "--write-run", "/dev/null/run.yaml",
    ])
    #expect(place.status == 2)
    #expect(place.errors.contains("/dev/null/run.yaml"))
    let corpus = try Tool.run(["fuzz", "--seed", "1", "--corpus", "/dev/null/corpus"])
    #expect(corpus.status == 2)
    #expect(corpus.errors.contains("/dev/null/corpus"))
  }
}
