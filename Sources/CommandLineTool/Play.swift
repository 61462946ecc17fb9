import ArgumentParser
import MachineSimulation
import Reports

/// Plays scenario files.
struct Play: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Play scenarios: what happens to a machine, and what must come of it.",
    discussion: """
      Takes scenario files, and folders of them. Prints one line a scenario; for one that fails, \
      the step, what was expected, what came, and the trip of the access, stop by stop. Exit \
      status 1 when one fails, 2 when a file is no scenario.

        penumbra play Scenarios
        penumbra play --explain Scenarios/guest-walks/four-levels.yaml
        penumbra play --explain Scenarios/sub-pages/one-sub-page.yaml

      The language is described in the documentation, on the page "Scenarios".
      """)

  @Argument(help: ArgumentHelp("Scenario files, or folders of them.", valueName: "scenario"))
  var scenarios: [String]

  @Flag(help: "Check every invariant of the machine after each step.")
  var check = false

  @Flag(help: "Narrate every step, with the trip of each access.")
  var explain = false

  @OptionGroup(title: "Report") var report: FormatOptions

  #if MUTATIONS
    @OptionGroup(title: "Mutation") var mutation: MutationOptions
  #endif

  func run() throws {
    let files = try ScenarioFiles.find(scenarios)
    var player = ScenarioPlayer()
    player.checksEveryStep = check
    player.explainsEveryStep = explain
    var output = Output()
    var failed = 0
    for file in files {
      let scenario: Scenario
      do {
        scenario = try ScenarioFiles.read(file)
      } catch {
        try output.flush()
        throw error
      }
      if try !play(scenario, file, player, &output) { failed += 1 }
      // A trap in a later file loses nothing of those before it.
      try output.flush()
    }
    if report.format == .text {
      output.text.append(
        string: "\(Self.count(files)): \(files.count - failed) passed, \(failed) failed\n")
    }
    try output.flush()
    guard failed == 0 else {
      throw Failure("\(failed) of \(Self.count(files)) failed", .doesNotHold)
    }
  }

  private static func count(_ files: [String]) -> String {
    files.count == 1 ? "1 scenario" : "\(files.count) scenarios"
  }

  private func play(
    _ scenario: Scenario, _ file: String, _ player: ScenarioPlayer, _ output: inout Output
  ) throws -> Bool {
    var steps: [ScenarioPlayer.StepReport] = []
    let failure: ScenarioPlayer.StepReport?
    do {
      failure = try player.play(scenario) { steps.append($0) }
    } catch {
      throw Failure("\(file): \(error.message)")
    }
    switch report.format {
    case .json:
      for step in steps { writeJSON(step, file, to: &output.text) }
    case .text:
      let verdict = failure == nil ? "ok    " : "FAILED"
      output.text.append(string: "\(verdict)  \(file): \(scenario.name)\n")
      for step in steps where explain || !step.isPassed { write(step, file, to: &output.text) }
    }
    return failure == nil
  }

  private func write(
    _ step: ScenarioPlayer.StepReport, _ file: String, to text: inout TextBuffer
  ) {
    let place = step.line > 0 ? "\(file):\(step.line)" : file
    text.append(string: "  step \(step.number), \(place): \(step.step.operation.text)\n")
    if let mismatch = step.mismatch {
      text.append(string: "    expected  \(mismatch.expected)\n")
      text.append(string: "    came      \(mismatch.found)\n")
    } else {
      text.append(string: "    came      \(step.result.text)\n")
    }
    for (index, line) in step.explanation.enumerated() {
      text.append(string: (index == 0 ? "    trip      " : "              ") + "\(line)\n")
    }
  }

  private func writeJSON(
    _ step: ScenarioPlayer.StepReport, _ file: String, to text: inout TextBuffer
  ) {
    text.append("{\"scenario\":")
    text.appendQuoted(file)
    text.append(string: ",\"step\":\(step.number),\"line\":\(step.line),\"operation\":")
    text.appendQuoted(step.step.operation.text)
    text.append(",\"outcome\":")
    text.append(string: step.result.json)
    text.append(string: ",\"pass\":\(step.isPassed)")
    if let mismatch = step.mismatch {
      text.append(",\"expected\":")
      text.appendQuoted(mismatch.expected)
      text.append(",\"found\":")
      text.appendQuoted(mismatch.found)
    }
    if !step.explanation.isEmpty {
      text.append(",\"trip\":[")
      for (index, line) in step.explanation.enumerated() {
        if index > 0 { text.append(",") }
        text.appendQuoted(line)
      }
      text.append("]")
    }
    text.append("}\n")
  }
}
