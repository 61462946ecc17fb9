/// Random scenarios against the reference and the invariants, by seed.
///
/// ```
/// var fuzzer = Fuzzer(FuzzConfiguration(seed: 1))
/// while fuzzer.report.failure == nil && fuzzer.report.runs < 100 { try fuzzer.run() }
/// ```
///
/// The same configuration gives the same runs, results and digest.
public struct Fuzzer {
  /// What is to be done.
  public let configuration: FuzzConfiguration
  /// What came of the runs so far.
  public private(set) var report: FuzzReport
  /// What reached new pairs of tracepoints, to start from; `nil` to start each run anew.
  public private(set) var corpus: FuzzCorpus?
  private let spoil: FuzzRun.Spoiler?

  /// A session that has not begun.
  ///
  /// With a corpus, half of the runs start from a part of it, and the runs depend on it too.
  public init(_ configuration: FuzzConfiguration, corpus: FuzzCorpus? = nil) {
    self.init(configuration, corpus: corpus, spoiling: nil)
  }

  /// A session on machines behind whose backs something is done, to see it found.
  init(
    _ configuration: FuzzConfiguration, corpus: FuzzCorpus? = nil, spoiling spoil: FuzzRun.Spoiler?
  ) {
    self.configuration = configuration
    self.corpus = corpus
    self.spoil = spoil
    report = FuzzReport(seed: configuration.seed)
  }

  /// The seed of the run that comes next.
  public var nextSeed: UInt64 { configuration.seed &+ report.runs }

  /// The scenario that the run of a seed plays, without playing it.
  public static func scenario(seed: UInt64, _ configuration: FuzzConfiguration) -> Scenario {
    FuzzRun.scenario(seed: seed, configuration)
  }

  /// Plays what the corpus holds, so that only what is new beyond it counts as new.
  public mutating func playCorpus() throws(StageError) {
    for scenario in corpus?.scenarios ?? [] {
      var configuration = configuration
      configuration.stepsPerRun = 0
      var run = FuzzRun(seed: 0, configuration, from: scenario)
      try run.play(&report.coverage, spoiling: spoil) { _ in }
      account(run)
      if report.failure != nil { return }
    }
  }

  /// Does the next run; a failure is made small before it returns.
  ///
  /// * `progress`: is told the number of each step before it is done.
  /// - Returns: what the corpus gained, to be kept.
  @discardableResult
  public mutating func run(
    telling progress: (Int) -> Void = { _ in }
  ) throws(StageError) -> Scenario? {
    let seed = nextSeed
    var run = FuzzRun(seed: seed, configuration, from: corpus?.start(seed: seed))
    try run.play(&report.coverage, spoiling: spoil, telling: progress)
    report.runs += 1
    account(run)
    guard run.lastNews > 0, corpus != nil else { return nil }
    var scenario = run.scenario
    scenario.steps.removeLast(scenario.steps.count - min(run.lastNews, scenario.steps.count))
    corpus?.add(scenario)
    return scenario
  }

  private mutating func account(_ run: FuzzRun) {
    report.steps += UInt64(run.operations.count)
    report.judged += run.judged
    report.inspections += run.inspections
    report.digest.add(run.digest.value)
    guard let violation = run.violation else { return }
    let spoil = self.spoil
    var shrinker = FuzzShrinker(
      run.scenario, breaking: violation, limit: configuration.shrinkingLimit
    ) { FuzzShrinker.replay($0, spoiling: spoil) }
    shrinker.shrink()
    report.failure = FuzzReport.Failure(
      seed: run.seed, violation: shrinker.violation, scenario: shrinker.scenario,
      stepsBefore: run.operations.count, stepsUntilFound: report.steps,
      attempts: shrinker.attempts)
  }
}
