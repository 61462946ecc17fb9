import Foundation
import MachineSimulation
import SubpageProtection
import Testing

@Suite("The scenarios of the project")
struct ScenarioFolderTests {
  private static let folder = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Scenarios")

  /// Every scenario file, by its path below the folder.
  static let files: [String] =
    (try? FileManager.default.subpathsOfDirectory(atPath: folder.path))?
    .filter { $0.hasSuffix(".yaml") }.sorted() ?? []

  private static func read(_ file: String) throws -> Scenario {
    let text = try String(contentsOf: folder.appendingPathComponent(file), encoding: .utf8)
    return try ScenarioReader.read(text, file: file)
  }

  @Test("there are at least 120 scenarios, each with a rule of its own that it can fail to meet")
  func rules() throws {
    #expect(Self.files.count >= 120)
    var names: [String: String] = [:]
    for file in Self.files {
      let scenario = try Self.read(file)
      #expect(names.updateValue(file, forKey: scenario.name) == nil, "\(file): \(scenario.name)")
      let expectations = Self.expectations(of: scenario.steps)
      #expect(expectations > 0, "\(file) expects nothing")
    }
  }

  /// How many steps expect something, those that run interleaved included.
  private static func expectations(of steps: [Step]) -> Int {
    steps.reduce(0) { count, step in
      var inner = 0
      if case .interleave(let interleaving) = step.operation {
        inner = interleaving.together.reduce(0) { $0 + expectations(of: $1) }
      }
      return count + inner + (step.expectation.isAnything ? 0 : 1)
    }
  }

  @Test("every scenario comes as it expects, with all invariants after each step", arguments: files)
  func play(_ file: String) throws {
    var player = ScenarioPlayer()
    player.checksEveryStep = true
    let failure = try player.play(try Self.read(file))
    if let failure, let mismatch = failure.mismatch {
      Issue.record(
        """
        \(file):\(failure.line): step \(failure.number), \(failure.step.operation.text): expected \
        \(mismatch.expected), came \(mismatch.found)
        """)
    }
  }

  @Test("each defect of the posted series shows where it is wanted, and nowhere else")
  func quirks() throws {
    var shown: SubpageQuirks = []
    for file in Self.files {
      var scenario = try Self.read(file)
      guard !scenario.machine.subpageQuirks.isEmpty else { continue }
      shown.formUnion(scenario.machine.subpageQuirks)
      scenario.machine.subpageQuirks = []
      let failure = try ScenarioPlayer().play(scenario)
      #expect(failure?.mismatch != nil, "\(file) shows nothing")
    }
    for (name, quirk) in SubpageQuirks.named { #expect(shown.contains(quirk), "\(name)") }
  }

  @Test("a scenario means the same after it was written anew", arguments: files)
  func rewrite(_ file: String) throws {
    let scenario = try Self.read(file)
    let again = try ScenarioReader.read(ScenarioWriter.text(of: scenario), file: file)
    #expect(again.name == scenario.name)
    #expect(again.machine == scenario.machine)
    #expect(again.steps.map(\.operation.text) == scenario.steps.map(\.operation.text))
    #expect(again.steps.map(\.expectation.text) == scenario.steps.map(\.expectation.text))
  }
}
