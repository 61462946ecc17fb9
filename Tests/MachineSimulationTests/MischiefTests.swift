import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine

@testable import MachineSimulation

@Suite("Mischief")
struct MischiefTests {
  /// Writes and reads single pages on two processors and compares with what was written; what was
  /// done to the machine meanwhile.
  private func play(
    seed: UInt64, _ weights: MischiefWeights, backing: World.Backing = .split, steps: Int = 150
  ) throws -> MischiefHistory {
    let scheduler = Scheduler(.seeded(seed))
    let world = try World(scheduler, backing: backing)
    let mischief = Mischief(seed: seed, weights)
    mischief.target = world
    scheduler.mischief = mischief
    var dice = SeededGenerator(seed)
    var words: [UInt64: UInt64] = backing == .split ? [0: 1] : [:]
    for step in 0..<steps {
      let page = dice.below(40 as UInt64)
      let address = GuestPhysical(page << 12)
      let processor = dice.below(2)
      let kind: AccessKind = dice.chance(1, in: 2) ? .write : .read
      scheduler.beginStep(of: processor)
      let outcome = world.machine.access(processor, address, kind)
      scheduler.endStep()
      guard case .translated(let translation) = outcome else {
        Issue.record("step \(step) of seed \(seed): \(outcome)\n\(mischief.history.text)")
        break
      }
      let found = world.machine.tables.memory.entry(at: translation.hostPhysical)
      #expect(found == words[page, default: 0], "step \(step) of seed \(seed)")
      if kind == .write {
        words[page] = UInt64(step) + 1
        world.machine.tables.memory.setEntry(UInt64(step) + 1, at: translation.hostPhysical)
      }
    }
    scheduler.mischief = nil
    #expect(world.violation() == nil)
    return mischief.history
  }

  @Test("the same seed does the same mischief, byte for byte")
  func sameSeed() throws {
    var digests: Set<HistoryDigest> = []
    for seed in 1...4 as ClosedRange<UInt64> {
      let first = try play(seed: seed, .unseen)
      let again = try play(seed: seed, .unseen)
      #expect(first == again)
      #expect(first.count > 10)
      digests.insert(first.digest)
    }
    #expect(digests.count == 4)
  }

  @Test(
    "each kind of lawful mischief by itself is done, and the guest does not see it",
    arguments: MischiefKind.allCases.filter { $0 != .unmapping && $0 != .refusal })
  func eachKind(kind: MischiefKind) throws {
    let backing: World.Backing = kind == .splitting ? .large : .split
    let history = try play(seed: 5, .only(kind), backing: backing, steps: 60)
    // A huge page is split or joined once, and then that is all.
    #expect(history.count(of: kind) > (kind == .splitting || kind == .joining ? 0 : 5))
    #expect(history.count == history.count(of: kind))
  }

  @Test("outside a fault's page nothing is done to it where a lock is held")
  func onlyUnlocked() throws {
    let history = try play(seed: 6, .only(.migration), steps: 60)
    let points = Set(history.events.map(\.point))
    #expect(points == [.beforeHostLookup, .beforeMMULock])
  }

  // MARK: Interleaved

  @Test("processors, host and VMM under mischief end well, whatever the seed", arguments: 1...12)
  func everybody(seed: UInt64) throws {
    let scheduler = Scheduler(.seeded(seed))
    let world = try World(scheduler, backing: .split)
    let mischief = Mischief(seed: seed, .unseen)
    mischief.target = world
    scheduler.mischief = mischief
    var complaints: [String] = []
    func run(_ processor: Int) {
      var dice = SeededGenerator(seed &* 31 &+ UInt64(processor))
      for _ in 0..<25 {
        // Each processor has pages of its own, so that what it wrote stands there.
        let address = GuestPhysical((dice.below(8 as UInt64) * 2 + UInt64(processor)) << 12)
        scheduler.beginStep(of: processor)
        let outcome = world.machine.access(processor, address, .write)
        scheduler.endStep()
        switch outcome {
        case .translated, .device: break
        default: complaints.append("processor \(processor): \(outcome)")
        }
      }
    }
    let history = scheduler.run([
      { run(0) }, { run(1) },
      {
        var dice = SeededGenerator(seed &+ 1000)
        for _ in 0..<8 {
          let page = world.base + dice.below(16 as UInt64) << 12
          scheduler.beginStep(of: nil)
          switch dice.below(4) {
          case 0: _ = world.machine.migrateHost(page)
          case 1: _ = world.machine.clearFlushYoung(page..<(page + 4096))
          case 2: _ = world.machine.collapseHost(page, to: .page2M)
          default: _ = world.machine.splitHost(page)
          }
          scheduler.endStep()
        }
      },
      {
        for round in 0..<4 {
          var region = MemslotRegion(
            id: MemslotID(1), guestAddress: GuestPhysical(8 << 20),
            byteCount: round % 2 == 0 ? 1 << 20 : 0, hostAddress: world.base)
          region.flags = []
          do throws(MemslotError) {
            try world.machine.setMemoryRegion(region)
          } catch {
            complaints.append("\(error)")
          }
          _ = world.write(UInt64(round), to: GuestPhysical(0x3F000))
        }
      },
    ])
    scheduler.mischief = nil
    #expect(history.outcome == .ended)
    #expect(complaints.isEmpty)
    #expect(world.violation() == nil)
    #expect(world.load(0, GuestPhysical(0x3F000)) == 3)
    #expect(world.load(1, GuestPhysical(0x3F000)) == 3)
  }

  // MARK: Refusals

  /// A small life of a machine, in which every refusal is an answer; how often frames were asked
  /// for.
  private func live(_ world: World, refusing policy: RefusalPolicy) -> UInt64 {
    world.machine.process.host.refuse(policy)
    for processor in 0..<2 {
      for page in [5, 0x201, 0x3FF] as [UInt64] {
        switch world.machine.access(processor, GuestPhysical(page << 12), .write) {
        case .translated, .failed(.noMemory, _): break
        case let other: Issue.record("refusing \(policy), an access gave \(other)")
        }
      }
    }
    _ = world.machine.migrateHost(world.hostPage)
    _ = world.machine.splitHost(world.base + 0x20_0000)
    _ = world.machine.collapseHost(world.hostPage, to: .page2M)
    for byteCount in [1 << 20, 0] as [UInt64] {
      do throws(MemslotError) {
        try world.machine.setMemoryRegion(
          MemslotRegion(
            id: MemslotID(1), guestAddress: GuestPhysical(8 << 20), byteCount: byteCount,
            hostAddress: world.base))
      } catch {
        #expect(error == .noMemory || error == .nothingToDelete, "refusing \(policy)")
      }
    }
    _ = world.write(7, to: GuestPhysical(0x3_0000))
    world.machine.zapAll()
    _ = world.machine.access(0, World.page, .read)
    return world.machine.process.host.allocationCount
  }

  @Test(
    "whichever allocation is refused, the machine stays whole and recovers",
    arguments: [World.Backing.small, .split, .large])
  func everyRefusal(backing: World.Backing) throws {
    for isRepeated in [false, true] {
      var number: UInt64 = 1
      while true {
        let world = try World(Scheduler(.seeded(0)), backing: backing)
        let asked = live(world, refusing: isRepeated ? .every(number) : .once(number))
        #expect(world.violation() == nil, "refusing \(number)")
        world.machine.process.host.refuse(.never)
        #expect(world.write(0x77, to: World.page))
        #expect(world.load(0, World.page) == 0x77)
        #expect(world.load(1, World.page) == 0x77)
        if asked < number { break }
        number += 1
      }
      #expect(number > 20)
    }
  }
}
