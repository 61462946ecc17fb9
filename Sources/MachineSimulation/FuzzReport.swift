public import MachineChecks

/// What came of a fuzzing session.
public struct FuzzReport: Sendable {
  /// A failure, made small.
  public struct Failure: Sendable {
    /// The seed of the run that failed.
    public var seed: UInt64
    /// What does not hold.
    public var violation: Violation
    /// The smallest scenario that shows it.
    public var scenario: Scenario
    /// How many steps the run had when it failed.
    public var stepsBefore: Int
    /// How many steps all runs had until then.
    public var stepsUntilFound: UInt64
    /// How many attempts it took to make it small.
    public var attempts: Int

    /// The text of a scenario file that shows the failure.
    public var text: String {
      ScenarioWriter.text(
        of: scenario,
        comment: [
          "broken: \(violation.description)",
          "found by: penumbra fuzz --seed \(seed) --runs 1 (\(stepsBefore) steps before shrinking)",
        ])
    }
  }

  /// The seed of the first run.
  public internal(set) var seed: UInt64
  /// How many runs were done.
  public internal(set) var runs: UInt64 = 0
  /// How many steps they had.
  public internal(set) var steps: UInt64 = 0
  /// How many accesses the reference judged.
  public internal(set) var judged: UInt64 = 0
  /// How often a whole machine was inspected.
  public internal(set) var inspections: UInt64 = 0
  /// Over the operations, results and tracepoints of all runs.
  public internal(set) var digest = FuzzDigest()
  /// Which pairs of consecutive tracepoints were seen.
  public internal(set) var coverage = FuzzCoverage()
  /// The failure that ended the session.
  public internal(set) var failure: Failure?

  /// Nothing was done.
  init(seed: UInt64) { self.seed = seed }
}
