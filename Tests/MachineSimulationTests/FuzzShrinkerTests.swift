import HostMemory
import MachineChecks
import PageTables
import PagingUnits
import Testing
import VirtualMachine

@testable import MachineSimulation

@Suite("What the fuzzer finds")
struct FuzzShrinkerTests {
  /// Makes two leaves of ours lead to each other's pages, behind everybody's back, when evicted.
  private static func spoil(_ operation: Operation, _ stage: Stage) {
    // The machine is inspected at once, before it goes on by what was spoilt, as none could.
    guard case .memslot = operation else { return }
    let memory = stage.machine.tables.memory
    var number: UInt32 = 1
    while let id = stage.machine.tables.arena.row(number) {
      number += 1
      let row = stage.machine.tables.arena[id]
      guard row.state == .live, row.role.level == .page4K else { continue }
      let places = (0..<512).map { row.frame.address + UInt64(8 * $0) }
        .filter { memory.entry(at: $0) & 3 == 3 }
      guard let first = places.first, let last = places.last, first != last else { continue }
      let frames: UInt64 = 0x000F_FFFF_FFFF_F000
      let difference = (memory.entry(at: first) ^ memory.entry(at: last)) & frames
      for place in [first, last] {
        memory.setEntry(memory.entry(at: place) ^ difference, at: place)
      }
      return
    }
  }

  @Test(
    "is found in a spoilt machine and shrunk to a handful of steps that break the same rule",
    arguments: [FuzzConfiguration.Focus.direct, .shadow])
  func spoiltMachine(focus: FuzzConfiguration.Focus) throws {
    var found = 0
    var smallest = Int.max
    for seed: UInt64 in 0..<8 {
      var configuration = FuzzConfiguration(seed: seed)
      configuration.stepsPerRun = 600
      configuration.focus = focus
      var fuzzer = Fuzzer(configuration, spoiling: Self.spoil)
      try fuzzer.run()
      guard let failure = fuzzer.report.failure else { continue }
      found += 1
      smallest = min(smallest, failure.scenario.steps.count)
      #expect(failure.scenario.steps.count <= 24)
      #expect(failure.stepsBefore >= failure.scenario.steps.count)
      #expect(failure.text.contains("# broken: "))
      #expect(failure.text.contains("--seed \(seed) "))
      // The file shows it again, on the same machine, and nothing on a sound one.
      let read = try ScenarioReader.read(failure.text, file: "failure")
      let again = FuzzShrinker.replay(read, spoiling: Self.spoil)
      #expect(again?.violation.rule == failure.violation.rule)
      #expect(FuzzShrinker.replay(read) == nil)
    }
    #expect(found >= 2)
    #expect(smallest <= 8)
  }

  @Test("includes what a machine leaves behind when it ends")
  func leak() throws {
    func ground(_ operations: [Operation], leaking: Bool) throws -> StageGround {
      let stage = try Stage(ScenarioMachine())
      for operation in operations { _ = stage.perform(operation) }
      if leaking { #expect(stage.machine.process.host.allocateTable(owner: 7) != nil) }
      return stage.ground
    }
    let slot = MemslotChange(id: 0, at: GuestPhysical(0), byteCount: 1 << 22)
    let access = AccessStep(.write, at: .physical(GuestPhysical(0x5000)))
    let steps: [Operation] = [.memslot(slot), .access(access)]
    #expect(try ground(steps, leaking: false).violation == nil)
    #expect(try ground(steps, leaking: true).violation?.rule == MachineRemains.rule)
  }

  @Test("keeps only the steps and values that the failure needs")
  func oracle() {
    var configuration = FuzzConfiguration(seed: 3)
    configuration.stepsPerRun = 500
    var scenario = Fuzzer.scenario(seed: 3, configuration)
    var slot = MemslotChange(id: 77, at: GuestPhysical(0x5000), byteCount: 0x40000)
    slot.logsWrites = true
    slot.backing = .file
    scenario.steps.insert(Step(.memslot(slot)), at: 100)
    scenario.steps.insert(Step(.refuse(.every(77))), at: 400)
    let violation = Violation("the slot comes before the refusal", found: "it does")
    var shrinker = FuzzShrinker(scenario, breaking: violation, limit: 100_000) { candidate in
      let first = candidate.steps.firstIndex {
        if case .memslot(let change) = $0.operation { change.id == 77 } else { false }
      }
      let second = candidate.steps.firstIndex { $0.operation == .refuse(.every(77)) }
      guard let first, let second, first < second else { return nil }
      return (violation, second + 1)
    }
    shrinker.shrink()
    var plain = MemslotChange(id: 77, at: GuestPhysical(0x5000), byteCount: 0x1000)
    plain.space = .normal
    #expect(
      shrinker.scenario.steps.map(\.operation) == [.memslot(plain), .refuse(.every(77))])
    #expect(shrinker.scenario.machine == ScenarioMachine())
    #expect(shrinker.attempts < 1000)
  }

  @Test("is given back as it was when there is no room to shrink it")
  func limit() {
    let scenario = Scenario(
      name: "", machine: ScenarioMachine(), steps: [Step(.zapAll), Step(.check)])
    let violation = Violation("never", found: "")
    var shrinker = FuzzShrinker(scenario, breaking: violation, limit: 0) {
      (violation, $0.steps.count)
    }
    shrinker.shrink()
    #expect(shrinker.scenario == scenario)
    #expect(shrinker.attempts == 0)
  }

  @Test("gets simpler towards an end, operation by operation")
  func simplerEnds() {
    for seed: UInt64 in 0..<40 {
      var generator = FuzzGenerator(seed: seed, focus: nil)
      for _ in 0..<200 {
        var operation = generator.next()
        var steps = 0
        while let simpler = operation.simpler.last {
          #expect(simpler != operation)
          operation = simpler
          steps += 1
          guard steps < 200 else {
            Issue.record("\(operation) gets simpler without an end")
            return
          }
        }
      }
    }
  }
}
