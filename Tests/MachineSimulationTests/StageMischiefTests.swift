import MachineChecks
import PagingUnits
import Testing

@testable import MachineSimulation

@Suite("Mischief on a stage")
struct StageMischiefTests {
  @Test("what a stage reads and the reference judges stays right under mischief", arguments: 1...6)
  func reads(seed: UInt64) throws {
    var settings = ScenarioMachine()
    settings.processors = 2
    settings.translationSets = 8
    let stage = try Stage(settings)
    let slot = MemslotChange(id: 0, at: GuestPhysical(0), byteCount: 4 << 20)
    #expect(stage.perform(.memslot(slot)) == .done)
    let mischief = Mischief(seed: seed)
    stage.mischief = mischief
    var dice = SeededGenerator(seed)
    var words: [UInt64: UInt64] = [:]
    for step in 0..<200 as Range<UInt64> {
      // Some of them cross into the next page.
      let address = dice.below(32 as UInt64) * 4096 + (dice.chance(1, in: 4) ? 4092 : 64)
      var access = AccessStep(
        dice.chance(1, in: 2) ? .write : .read, at: .physical(GuestPhysical(address)))
      access.processor = dice.below(2)
      if access.kind == .write {
        access.value = step + 1
        words[address] = step + 1
      }
      switch stage.perform(.access(access)) {
      case .reached(let memory):
        if access.kind == .read {
          #expect(memory.value == words[address, default: 0], "step \(step) of seed \(seed)")
        }
      case let other: Issue.record("step \(step) of seed \(seed): \(other)")
      }
    }
    #expect(mischief.history.count > 20)
    stage.mischief = nil
    #expect(stage.perform(.check) == .done)
  }
  @Test(
    "what interleaved processors write stands there, however the host moves their pages",
    arguments: 1...20)
  func interleavedWrites(seed: UInt64) throws {
    var settings = ScenarioMachine()
    settings.processors = 2
    settings.translationSets = 8
    let stage = try Stage(settings)
    let slot = MemslotChange(id: 0, at: GuestPhysical(0), byteCount: 1 << 20)
    #expect(stage.perform(.memslot(slot)) == .done)
    var dice = SeededGenerator(seed)
    var words: [UInt64: UInt64] = [:]
    var together: [[Step]] = [[], [], []]
    for number in 0..<60 as Range<UInt64> {
      // Each processor has places of its own; some cross into the next page, some are emulated.
      let processor = dice.below(2)
      let page = dice.below(4 as UInt64) << 12
      let address = page + (dice.chance(1, in: 2) ? 4092 : 64 + UInt64(processor) * 64)
      let isCrossing = address & 0xFFF == 4092
      var access = AccessStep(.write, at: .physical(GuestPhysical(address)))
      access.processor = isCrossing ? 0 : processor
      access.isEmulated = dice.chance(1, in: 3)
      access.value = number + 1
      words[address] = number + 1
      together[access.processor].append(Step(.access(access)))
      together[2].append(Step(.host(.migrate, GuestPhysical(page), byteCount: 4096)))
    }
    guard
      case .interleaved = stage.perform(.interleave(Interleaving(.seed(seed), together: together)))
    else {
      Issue.record("seed \(seed) does not end well")
      return
    }
    for (address, word) in words {
      let read = AccessStep(.read, at: .physical(GuestPhysical(address)))
      guard case .reached(let memory) = stage.perform(.access(read)) else { continue }
      #expect(memory.value == word, "seed \(seed), address \(address)")
    }
  }
}
