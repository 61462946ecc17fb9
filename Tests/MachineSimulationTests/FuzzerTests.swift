import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

@testable import MachineSimulation

@Suite("The fuzzer")
struct FuzzerTests {
  private static func session(
    seed: UInt64, runs: UInt64, focus: FuzzConfiguration.Focus? = nil
  ) throws -> FuzzReport {
    var configuration = FuzzConfiguration(seed: seed)
    configuration.stepsPerRun = 150
    configuration.focus = focus
    var fuzzer = Fuzzer(configuration)
    while fuzzer.report.runs < runs && fuzzer.report.failure == nil { try fuzzer.run() }
    return fuzzer.report
  }

  @Test("finds nothing, and gives the same digest twice, whatever it looks at most")
  func repeats() throws {
    for focus in [nil, .direct, .shadow, .spp, .memslots, .host] as [FuzzConfiguration.Focus?] {
      let first = try Self.session(seed: 40, runs: 12, focus: focus)
      let second = try Self.session(seed: 40, runs: 12, focus: focus)
      #expect(first.failure?.text == nil)
      #expect(first.steps == 12 * 150)
      #expect(first.judged > 300)
      #expect(first.inspections > 24)
      #expect(first.digest == second.digest)
      #expect(first.coverage == second.coverage)
    }
  }

  @Test("gives another digest for another seed, and has each run again alone")
  func singleRuns() throws {
    let session = try Self.session(seed: 7, runs: 4)
    var digest = FuzzDigest()
    for seed: UInt64 in 7..<11 {
      var configuration = FuzzConfiguration(seed: seed)
      configuration.stepsPerRun = 150
      var run = FuzzRun(seed: seed, configuration)
      var coverage = FuzzCoverage()
      try run.play(&coverage) { _ in }
      digest.add(run.digest.value)
      let written = Fuzzer.scenario(seed: seed, configuration)
      #expect(written.steps.map(\.operation) == run.operations)
      #expect(written.machine == run.machine)
    }
    #expect(session.digest == digest)
    #expect(try Self.session(seed: 8, runs: 4).digest != digest)
  }

  @Test("notices in the digest what differs in one value only")
  func digest() {
    let operation = Operation.evict(processor: 0)
    func digest(_ result: StepResult) -> FuzzDigest {
      var digest = FuzzDigest()
      digest.add(operation)
      digest.add(result)
      return digest
    }
    let memory = ReachedMemory(
      guestPhysical: GuestPhysical(1), hostPhysical: HostPhysical(2), pageBytes: 4096, value: 3)
    var other = memory
    other.hostPhysical = HostPhysical(3)
    #expect(digest(.reached(memory)) != digest(.reached(other)))
    #expect(digest(.done) != digest(.error("")))
    #expect(digest(.error("ab")) != digest(.error("ba")))
    #expect(digest(.young(true)) != digest(.young(false)))
  }

  @Test("has every operation, host action, backing, mode and machine over its seeds")
  func swarm() {
    var kinds: Set<Int> = []
    var actions: Set<HostAction> = []
    var backings: Set<SlotBacking> = []
    var shapes: Set<PagingShape> = []
    var machines: Set<ScenarioMachine> = []
    var refusals: Set<String> = []
    for seed: UInt64 in 0..<150 {
      var generator = FuzzGenerator(seed: seed, focus: nil)
      machines.insert(generator.swarm.machine)
      for _ in 0..<300 {
        let operation = generator.next()
        kinds.insert(operation.kindNumber)
        switch operation {
        case .host(let action, _, _): actions.insert(action)
        case .memslot(let change): backings.insert(change.backing)
        case .refuse(let refusal): refusals.insert("\(refusal)".prefix(4).description)
        default: break
        }
      }
      shapes.formUnion(generator.picture.processors.map(\.shape))
    }
    // Counters and tracepoints are in the digest anyway.
    #expect(kinds == Set(1...20).subtracting([13, 14]))
    #expect(actions == Set(HostAction.allCases))
    #expect(backings == Set(SlotBacking.allCases))
    #expect(shapes == Set(PagingShape.allCases))
    #expect(refusals == ["neve", "once", "from", "ever"])
    #expect(Set(machines.map(\.vendor)).count == 2)
    #expect(Set(machines.map(\.rootLevel)).count == 2)
    #expect(Set(machines.map(\.processors)) == [1, 2, 3])
    #expect(Set(machines.map(\.largestPage)).count == 3)
  }

  @Test("leaves a part of the operations out of each run")
  func leavesOut() {
    var counts: Set<Int> = []
    for seed: UInt64 in 0..<50 {
      let weights = FuzzGenerator(seed: seed, focus: nil).swarm.weights
      counts.insert(weights.filter { $0 > 0 }.count)
      #expect(weights[FuzzAction.accessVirtual.rawValue] > 0)
      #expect(weights.contains(0))
    }
    #expect(counts.count > 4)
  }

  @Test("writes runs that are read back to the same values")
  func files() throws {
    var configuration = FuzzConfiguration(seed: 0)
    configuration.stepsPerRun = 400
    for seed: UInt64 in 0..<20 {
      let scenario = Fuzzer.scenario(seed: seed, configuration)
      var read = try ScenarioReader.read(ScenarioWriter.text(of: scenario), file: "run")
      read.forgetLines()
      #expect(read.machine == scenario.machine)
      #expect(read.steps == scenario.steps)
    }
  }

  @Test("says which emphases are not built yet")
  func focus() {
    let built = FuzzConfiguration.Focus.allCases.filter(\.isBuilt)
    #expect(built == [.shadow, .direct, .spp, .memslots, .host])
  }
}

extension Scenario {
  /// Makes steps that came from a file equal to steps that came from none.
  fileprivate mutating func forgetLines() {
    for index in steps.indices {
      steps[index].line = 0
      guard case .interleave(var interleaving) = steps[index].operation else { continue }
      for sequence in interleaving.together.indices {
        for number in interleaving.together[sequence].indices {
          interleaving.together[sequence][number].line = 0
        }
      }
      steps[index].operation = .interleave(interleaving)
    }
  }
}

extension Operation {
  /// The operation's kind as the digest numbers it.
  fileprivate var kindNumber: Int {
    switch self {
    case .memslot: 1
    case .write: 2
    case .read: 3
    case .registers: 4
    case .access: 5
    case .loadCR3: 6
    case .invalidatePage: 7
    case .invalidateContext: 8
    case .host: 9
    case .zapAll: 10
    case .evict: 11
    case .refuse: 12
    case .counters: 13
    case .tracepoints: 14
    case .tableEntry: 15
    case .processorTLB: 16
    case .check: 17
    case .interleave: 18
    case .trim: 19
    case .shadowEntry: 20
    case .subpageEntry: 21
    case .subpage: 22
    }
  }
}
