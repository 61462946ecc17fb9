import ArgumentParser
import EventSources
import Glibc
import MachineChecks
import MachineSimulation
import Reports

/// Plays random scenarios against the reference, by seed.
struct Fuzz: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Play random scenarios against the reference, by seed.",
    discussion: """
      Each run makes a machine, does random things to it (its guests, their tables, its memslots, \
      its host) and checks every step against the reference and every invariant. The first failure \
      ends the session: it is made small and written as a scenario file that penumbra play \
      reproduces. The same options give the same output, byte for byte, unless --time cuts the \
      session: then whole runs are done until the time is over.

        penumbra fuzz --seed 1 --runs 100
        penumbra fuzz --time 600 --corpus corpus
        penumbra fuzz --time 900 --focus shadow

      Exit status 1 when something was found. Made for the release build \
      (swift run -c release penumbra fuzz).
      """)

  @Option(
    help: ArgumentHelp(
      "The seed of the first run; each further run has the next number.",
      discussion: "Default: from the time. It is always printed.", valueName: "n"),
    transform: Quantity.option)
  var seed: UInt64?

  @Option(
    help: ArgumentHelp(
      "The number of steps of each run, 1 to 1000000.",
      discussion: "Default: 200 to 3000, by the seed.", valueName: "n"))
  var steps: Int?

  @Option(
    help: ArgumentHelp(
      "The number of runs.", discussion: "Default: 100; with --time as many as fit.",
      valueName: "n"),
    transform: Quantity.option)
  var runs: UInt64?

  @Option(
    help: ArgumentHelp(
      "How long, in seconds; the run that is under way is finished.", valueName: "seconds"))
  var time: Int?

  @Option(
    help: ArgumentHelp(
      "What to look at most: \(Self.focusNames).", discussion: "Default: everything alike.",
      valueName: "part"),
    transform: Self.parseFocus)
  var focus: FuzzConfiguration.Focus?

  @Option(
    help: ArgumentHelp(
      "A folder of scenario files to start from; what reaches something new is added.",
      discussion: """
        It is made when it is not there. What the runs do depends on it: compare only sessions \
        that began with the same files.
        """, valueName: "folder"))
  var corpus: String?

  @Option(
    help: ArgumentHelp(
      "Where the scenario of a failure goes.", discussion: "Default: fuzz-SEED.yaml.",
      valueName: "file"))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "Write the scenario of the first run to this file, and do nothing else.",
      discussion: "For a run that ends the program.", valueName: "file"))
  var writeRun: String?

  @OptionGroup(title: "Report") var report: FormatOptions

  #if MUTATIONS
    @OptionGroup(title: "Mutation") var mutation: MutationOptions
  #endif

  private static let focusNames = FuzzConfiguration.Focus.allCases.map(\.rawValue)
    .joined(separator: ", ")

  private static func parseFocus(_ text: String) throws -> FuzzConfiguration.Focus {
    guard let focus = FuzzConfiguration.Focus(rawValue: text) else {
      throw ValidationError("one of \(focusNames) was expected")
    }
    return focus
  }

  func validate() throws {
    if let steps, !(1...1_000_000 ~= steps) {
      throw ValidationError("--steps \(steps): 1 to 1000000 were expected")
    }
    if let time, time < 1 { throw ValidationError("--time \(time): at least 1 was expected") }
    if let runs, runs < 1 { throw ValidationError("--runs \(runs): at least 1 was expected") }
    if let focus, !focus.isBuilt {
      throw ValidationError("--focus \(focus.rawValue): \(focus.rawValue) is not built yet")
    }
  }

  func run() throws {
    var configuration = FuzzConfiguration(seed: seed ?? Self.seedFromTime())
    configuration.stepsPerRun = steps
    configuration.focus = focus
    #if MUTATIONS
      // What is known is not made small.
      if mutation.mutation != nil { configuration.shrinkingLimit = 0 }
    #endif
    if let writeRun {
      let scenario = Fuzzer.scenario(seed: configuration.seed, configuration)
      return try ScenarioFiles.write(
        ScenarioWriter.text(of: scenario), to: writeRun, for: "--write-run")
    }
    var output = Output()
    // The seed is told before anything can go wrong.
    if report.format == .text {
      output.text.append(string: "seed \(configuration.seed)\n")
      try output.flush()
    }
    var session = FuzzSession(configuration, limits: limits)
    let folder = try corpus.map { try CorpusFolder($0) }
    let result = try session.run(folder)
    try write(result, to: &output)
  }

  private var limits: FuzzSession.Limits {
    FuzzSession.Limits(runs: runs ?? (time == nil ? 100 : .max), seconds: time)
  }

  /// A seed that is short to type.
  private static func seedFromTime() -> UInt64 {
    var time = timespec()
    // SAFETY: the structure is the callee's to fill.
    unsafe _ = clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
  }

  // MARK: The report

  private func write(_ report: FuzzReport, to output: inout Output) throws {
    var file = ""
    if let failure = report.failure {
      file = self.output ?? "fuzz-\(failure.seed).yaml"
      try ScenarioFiles.write(failure.text, to: file, for: "--output")
    }
    switch self.report.format {
    case .text: writeText(report, file, to: &output.text)
    case .json: writeJSON(report, file, to: &output.text)
    }
    try output.flush()
    if let failure = report.failure {
      throw Failure(
        "\(file): \(failure.violation.rule) does not hold in the run of seed \(failure.seed)",
        .doesNotHold)
    }
  }

  private func writeText(_ report: FuzzReport, _ file: String, to text: inout TextBuffer) {
    text.append(
      string: """
        runs \(report.runs)
        steps \(report.steps)
        accesses judged \(report.judged)
        inspections \(report.inspections)
        tracepoint pairs \(report.coverage.count)
        digest \(report.digest)

        """)
    guard let failure = report.failure else { return }
    text.append(
      string: """
        FAILED seed \(failure.seed): \(failure.violation.description)
        \(failure.stepsBefore) steps, shrunk to \(failure.scenario.steps.count) in \
        \(failure.attempts) attempts: \(file)

        """)
  }

  private func writeJSON(_ report: FuzzReport, _ file: String, to text: inout TextBuffer) {
    text.append(string: "{\"seed\":\(report.seed),\"runs\":\(report.runs)")
    text.append(string: ",\"steps\":\(report.steps),\"judged\":\(report.judged)")
    text.append(string: ",\"inspections\":\(report.inspections)")
    text.append(string: ",\"pairs\":\(report.coverage.count),\"digest\":\"\(report.digest)\"")
    if let failure = report.failure {
      text.append(string: ",\"failure\":{\"seed\":\(failure.seed),\"rule\":")
      text.appendQuoted(failure.violation.rule)
      text.append(",\"found\":")
      text.appendQuoted(failure.violation.found)
      text.append(string: ",\"steps\":\(failure.scenario.steps.count),\"file\":")
      text.appendQuoted(file)
      text.append("}")
    }
    text.append("}\n")
  }
}
