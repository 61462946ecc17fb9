import MachineChecks

/// Makes a failing scenario small: what is left out, or made plain, is what the failure does not
/// need.
///
/// Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input",
/// 2002): chunks of steps of halving sizes are left out as long as the same rule still breaks;
/// then the machine and the values of steps are made plain, one at a time. Every attempt is played
/// on a fresh stage.
struct FuzzShrinker {
  /// The smallest scenario so far.
  private(set) var scenario: Scenario
  /// What it breaks.
  private(set) var violation: Violation
  /// How many attempts were made.
  private(set) var attempts = 0
  private var stepsLeft: Int
  private let replay: (Scenario) -> Finding?

  /// What a scenario breaks, and after how many steps.
  typealias Finding = (violation: Violation, steps: Int)

  /// Starts from a scenario that breaks a rule.
  ///
  /// * `limit`: how many steps may be replayed.
  /// * `replay`: what a scenario breaks.
  init(
    _ scenario: Scenario, breaking violation: Violation, limit: Int,
    replaying replay: @escaping (Scenario) -> Finding? = { Self.replay($0) }
  ) {
    self.scenario = scenario
    self.violation = violation
    self.replay = replay
    stepsLeft = limit
  }

  /// What a scenario breaks on a fresh stage; `nil` when everything holds.
  static func replay(_ scenario: Scenario, spoiling spoil: FuzzRun.Spoiler? = nil) -> Finding? {
    var ground: StageGround?
    if let finding = perform(scenario, spoil, &ground) { return finding }
    return ground?.violation.map { ($0, scenario.steps.count) }
  }

  private static func perform(
    _ scenario: Scenario, _ spoil: FuzzRun.Spoiler?, _ ground: inout StageGround?
  ) -> Finding? {
    var options = Stage.Options()
    options.traceLimit = 0
    guard let stage = try? Stage(scenario.machine, options: options) else { return nil }
    for (number, step) in scenario.steps.enumerated() {
      if let violation = stage.perform(step.operation).violation { return (violation, number + 1) }
      spoil?(step.operation, stage)
    }
    if !stage.isStuck { ground = stage.ground }
    return nil
  }

  /// Shrinks until nothing more goes, or until the limit.
  mutating func shrink() {
    // What came after the failure never mattered.
    guard stepsLeft > 0, let first = replay(scenario) else { return }
    scenario.steps.removeLast(scenario.steps.count - first.steps)
    violation = first.violation
    var before: Scenario
    repeat {
      before = scenario
      dropSteps()
      simplifyMachine()
      simplifySteps()
    } while scenario != before && stepsLeft > 0
  }

  /// Takes a candidate when it breaks the same rule; whether it does.
  @discardableResult
  private mutating func attempt(_ candidate: Scenario) -> Bool {
    guard stepsLeft > 0, candidate != scenario, candidate.fits else { return false }
    attempts += 1
    stepsLeft -= candidate.steps.count + 32
    guard let (found, count) = replay(candidate), found.rule == violation.rule else {
      return false
    }
    scenario = candidate
    scenario.steps.removeLast(candidate.steps.count - count)
    violation = found
    return true
  }

  // MARK: Steps

  private mutating func dropSteps() {
    var size = max(1, scenario.steps.count / 2)
    while true {
      var end = scenario.steps.count
      var dropped = false
      while end > 0 {
        let start = max(0, end - size)
        var candidate = scenario
        candidate.steps.removeSubrange(start..<end)
        if attempt(candidate) { dropped = true }
        end = min(start, scenario.steps.count)
      }
      if size == 1 && !dropped { return }
      size = max(1, dropped ? min(size, scenario.steps.count / 2) : size / 2)
      if stepsLeft <= 0 { return }
    }
  }

  // MARK: Values

  private mutating func simplifyMachine() {
    let plain = ScenarioMachine()
    for change in Self.machineChanges {
      var candidate = scenario
      change(&candidate.machine, plain)
      attempt(candidate)
    }
  }

  /// Ways to make a machine plainer; each may keep the failure from showing.
  private static let machineChanges: [@Sendable (inout ScenarioMachine, ScenarioMachine) -> Void] =
    [
      { machine, plain in machine = plain },
      { $0.mischief = $1.mischief },
      { $0.encryptionBit = $1.encryptionBit },
      { $0.vendor = $1.vendor },
      { $0.processors = $1.processors },
      { $0.rootLevel = $1.rootLevel },
      { $0.features = $1.features },
      { $0.prefetch = $1.prefetch },
      { $0.mmu = $1.mmu },
      { $0.specialRoots = $1.specialRoots },
      { $0.shadowPageLimit = $1.shadowPageLimit },
      { $0.largestPage = $1.largestPage },
      { $0.translationSets = $1.translationSets },
      { machine, plain in
        machine.physicalBits = plain.physicalBits
        machine.guestPhysicalBits = plain.guestPhysicalBits
      },
      { $0.hostBytes = $1.hostBytes },
    ]

  private mutating func simplifySteps() {
    var number = scenario.steps.count - 1
    while number >= 0 && stepsLeft > 0 {
      var index = 0
      while number < scenario.steps.count {
        let simpler = scenario.steps[number].operation.simpler
        guard index < simpler.count else { break }
        var candidate = scenario
        candidate.steps[number].operation = simpler[index]
        // A simpler operation has simpler ones of its own, from the start.
        index = attempt(candidate) ? 0 : index + 1
      }
      number -= 1
    }
  }
}
