import MachineChecks

/// Plays scenarios: performs their steps and compares what comes with what is expected.
public struct ScenarioPlayer: Sendable {
  /// Whether every invariant is checked after every step.
  public var checksEveryStep = false
  /// Whether every step is explained, not only one that fails.
  public var explainsEveryStep = false

  /// A player that checks what scenarios expect.
  public init() {}

  /// What came of one step.
  public struct StepReport: Sendable {
    /// The number of the step, from 1.
    public var number: Int
    /// The step.
    public var step: Step
    /// What came.
    public var result: StepResult
    /// What was expected and what came instead; `nil` when the step came as expected.
    public var mismatch: Expectation.Mismatch?
    /// The line at which the expectation stands, from 1; 0 without a file.
    public var line: Int
    /// The trip of the step's access, stop by stop.
    public var explanation: [String]

    /// Whether the step came as expected.
    public var isPassed: Bool { mismatch == nil }
  }

  /// Plays a scenario up to its end, or to the first step that comes otherwise than expected; then
  /// the machine ends, and what it leaves behind fails the last step.
  ///
  /// * `report`: is handed each step as it is done.
  /// - Returns: the step that failed; `nil` when all came as expected.
  public func play(
    _ scenario: Scenario, reporting report: (StepReport) -> Void = { _ in }
  ) throws(StageError) -> StepReport? {
    let (failed, ground) = try playOnce(scenario, report)
    guard failed == nil, let violation = ground?.violation, let last = scenario.steps.last else {
      return failed
    }
    let mismatch = Expectation.Mismatch(expected: violation.rule, found: violation.found)
    let lost = StepReport(
      number: scenario.steps.count, step: last, result: .violation(violation), mismatch: mismatch,
      line: last.line, explanation: [])
    report(lost)
    return lost
  }

  /// Plays on a stage that has ended when this returns; what failed, and what the stage stood on.
  private func playOnce(
    _ scenario: Scenario, _ report: (StepReport) -> Void
  ) throws(StageError) -> (StepReport?, StageGround?) {
    let stage = try Stage(scenario.machine)
    let failed = play(scenario, on: stage, reporting: report)
    return (failed, stage.isStuck ? nil : stage.ground)
  }

  /// Plays a scenario on a stage that the caller keeps, made for the scenario's machine.
  ///
  /// * `report`: is handed each step as it is done.
  /// - Returns: the step that failed; `nil` when all came as expected.
  public func play(
    _ scenario: Scenario, on stage: Stage, reporting report: (StepReport) -> Void = { _ in }
  ) -> StepReport? {
    for (index, step) in scenario.steps.enumerated() {
      let result = stage.perform(step.operation)
      var (mismatch, line) = Self.mismatch(of: step, with: result)
      if mismatch == nil && checksEveryStep, let violation = stage.inspect() {
        mismatch = Expectation.Mismatch(
          expected: "every invariant holds", found: violation.description)
      }
      var stepReport = StepReport(
        number: index + 1, step: step, result: result, mismatch: mismatch, line: line,
        explanation: [])
      if (mismatch != nil || explainsEveryStep) && !stage.isStuck {
        stepReport.explanation = Trip.explanation(of: step.operation, on: stage)
      }
      report(stepReport)
      if mismatch != nil { return stepReport }
    }
    return nil
  }

  /// What a step, or one of those inside it, did not come to.
  private static func mismatch(
    of step: Step, with result: StepResult
  ) -> (Expectation.Mismatch?, line: Int) {
    if let mismatch = step.expectation.mismatch(with: result) { return (mismatch, step.line) }
    guard case .interleave(let interleaving) = step.operation,
      case .interleaved(let interleaved) = result
    else { return (nil, step.line) }
    for (steps, results) in zip(interleaving.together, interleaved.results) {
      for (inner, result) in zip(steps, results) {
        guard let mismatch = inner.expectation.mismatch(with: result) else { continue }
        return (mismatch, inner.line)
      }
    }
    return (nil, step.line)
  }
}
