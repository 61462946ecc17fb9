import HardwareModel
import MachineChecks

/// Steps that run interleaved.
extension Stage {
  /// Runs sequences of steps as if in parallel, one thread at a time, in an order that a seed or a
  /// schedule decides; then inspects the machine.
  func interleave(_ interleaving: Interleaving) -> StepResult {
    guard !isInterleaving, 1...64 ~= interleaving.together.count else { return .error("EINVAL") }
    switch interleaving.order {
    case .seed(let seed): scheduler.policy = .seeded(seed)
    case .schedule(let schedule): scheduler.policy = .fixed(schedule)
    }
    let sequences = interleaving.together.map { Sequence($0, on: self) }
    isInterleaving = true
    let history = scheduler.run(sequences.map { sequence in { sequence.run() } })
    isInterleaving = false
    guard history.outcome == .ended else {
      isStuck = true
      return .violation(
        Violation("interleaved operations come to an end", found: history.outcome.description))
    }
    if let violation = inspect() { return .violation(violation) }
    if isInDoubt {
      for processor in 0..<settings.processors { _ = invalidate(processor, .everything) }
      isInDoubt = false
    }
    let lines = history.text.split(separator: "\n").map(String.init)
    return .interleaved(Interleaved(results: sequences.map(\.results), history: lines))
  }

  /// One sequence of steps, on a thread of its own.
  ///
  /// It holds the stage: should the run get stuck, both stay for ever.
  private final class Sequence {
    private let steps: [Step]
    private let stage: Stage
    private(set) var results: [StepResult] = []

    init(_ steps: [Step], on stage: Stage) {
      self.steps = steps
      self.stage = stage
    }

    func run() {
      for step in steps { results.append(stage.perform(step.operation)) }
    }
  }
}
