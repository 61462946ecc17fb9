import MachineChecks
import MachineEvents
import PagingUnits

/// One run: one machine, from its making to its end.
struct FuzzRun {
  /// The seed, from which everything follows.
  let seed: UInt64
  /// What was done.
  private(set) var operations: [Operation] = []
  /// Over operations, results and tracepoints.
  private(set) var digest = FuzzDigest()
  /// How often the whole machine was inspected.
  private(set) var inspections: UInt64 = 0
  /// How many accesses the reference judged.
  private(set) var judged: UInt64 = 0
  /// After how many steps the last new pair of tracepoints was seen; 0 for never.
  private(set) var lastNews = 0
  /// What did not hold.
  private(set) var violation: Violation?
  /// Whether it was found by inspecting the whole machine, not by a step.
  private(set) var isFoundByInspection = false
  /// The machine's settings.
  let machine: ScenarioMachine

  /// Does something behind a machine's back.
  typealias Spoiler = (Operation, Stage) -> Void

  private var generator: FuzzGenerator
  private let length: Int
  private let interval: Int
  private let start: [Operation]

  /// A run of a seed; `start` is done first, on the machine that it needs.
  init(seed: UInt64, _ configuration: FuzzConfiguration, from start: Scenario? = nil) {
    self.seed = seed
    generator = FuzzGenerator(seed: seed, focus: configuration.focus, on: start?.machine)
    let chosen = generator.chooseLength()
    self.start = start?.steps.map(\.operation) ?? []
    length = (configuration.stepsPerRun ?? chosen) + self.start.count
    interval = configuration.inspectionInterval
    machine = generator.swarm.machine
  }

  /// The operations of the run, without a machine on which to perform them.
  static func scenario(seed: UInt64, _ configuration: FuzzConfiguration) -> Scenario {
    var run = FuzzRun(seed: seed, configuration)
    let steps = (0..<run.length).map { Step(run.operation($0)) }
    return Scenario(name: "run of seed \(seed)", machine: run.machine, steps: steps)
  }

  private mutating func operation(_ number: Int) -> Operation {
    guard number < start.count else { return generator.next() }
    generator.follow(start[number])
    return start[number]
  }

  /// Plays the run up to its end or the first violation.
  ///
  /// * `progress`: is told the number of each step before it is done.
  /// * `spoil`: may do something behind the machine's back after each step, to see it found.
  mutating func play(
    _ coverage: inout FuzzCoverage, spoiling spoil: Spoiler? = nil,
    telling progress: (Int) -> Void
  ) throws(StageError) {
    let ground = try perform(&coverage, spoil, progress)
    // The stage has ended: what it leaves behind is lost.
    if violation == nil { violation = ground?.violation }
  }

  /// Performs the steps on a stage; what the stage stood on, unless somebody still stands there.
  private mutating func perform(
    _ coverage: inout FuzzCoverage, _ spoil: Spoiler?, _ progress: (Int) -> Void
  ) throws(StageError) -> StageGround? {
    let stage = try Stage(machine, options: options)
    operations.reserveCapacity(length)
    var lastKind: UInt8 = 0
    for number in 0..<length {
      progress(number)
      let operation = operation(number)
      operations.append(operation)
      let result = stage.perform(operation)
      digest.add(operation)
      digest.add(result)
      for event in stage.log.events {
        digest.add(event)
        let kind = event.coverageKind
        if coverage.see(kind, after: lastKind) { lastNews = number + 1 }
        lastKind = kind
      }
      stage.log.removeAll()
      violation = result.violation
      spoil?(operation, stage)
      if violation == nil && (operation.isStructural || number % interval == interval - 1) {
        inspect(stage)
      }
      if violation != nil { break }
    }
    if violation == nil { inspect(stage) }
    judged = stage.judgedCount
    return stage.isStuck ? nil : stage.ground
  }

  private mutating func inspect(_ stage: Stage) {
    inspections += 1
    violation = stage.inspect()
    isFoundByInspection = violation != nil
  }

  /// A stage that keeps the tracepoints of one step, and whose points cost nothing where nothing
  /// will run interleaved.
  private var options: Stage.Options {
    var options = Stage.Options()
    options.traceLimit = 1 << 14
    let isQuiet = machine.mischief == nil && !generator.swarm.hasInterleavings
    if isQuiet && start.isEmpty { options.interleaver = Interleaver() }
    return options
  }

  /// The run so far as a scenario; when an inspection failed, it is the last step.
  var scenario: Scenario {
    var steps = operations.map { Step($0) }
    if isFoundByInspection { steps.append(Step(.check)) }
    return Scenario(name: "fuzzing by seed \(seed)", machine: machine, steps: steps)
  }
}

extension Operation {
  /// Whether it changes what the tables hang on, so that everything is worth a look.
  var isStructural: Bool {
    switch self {
    case .memslot, .zapAll, .interleave: true
    default: false
    }
  }
}

extension StepResult {
  /// What does not hold, if that is what came of a step.
  var violation: Violation? {
    switch self {
    case .violation(let violation): violation
    case .exit(.stuck, let place, _):
      Violation("an access makes progress", found: "stuck at \(hex(place.raw))")
    case .interleaved(let interleaved):
      interleaved.results.lazy.flatMap(\.self).compactMap(\.violation).first
    default: nil
    }
  }
}

/// A number in hexadecimal.
private func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
