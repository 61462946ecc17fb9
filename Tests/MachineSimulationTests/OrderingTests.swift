import GuestMemory
import HostMemory
import MachineChecks
import MachineEvents
import PagingUnits
import Testing
import VirtualMachine

@testable import MachineSimulation

/// Something that races with something else.
private enum Act: String, CaseIterable {
  case fault, otherFault, unmap, unmapWide, migrate, protect, zapAll, deleteSlot, moveSlot, logSlot
  case addSlot, split, collapse, age, testAge, write

  /// The pages that must be there at first.
  var backing: World.Backing {
    switch self {
    case .split: .large
    case .collapse: .split
    default: .small
    }
  }

  static let movedTo: UInt64 = 16 << 20
  static let addedAt: UInt64 = 32 << 20

  /// Does it; says what came of it.
  func perform(_ world: World) -> String {
    switch self {
    case .fault: return "\(world.machine.access(0, World.page, .write))"
    case .otherFault: return "\(world.machine.access(1, World.page, .write))"
    case .unmap: return "\(world.machine.unmapHost(world.hostRange))"
    case .unmapWide:
      return "\(world.machine.unmapHost(world.base..<(world.base + 16 * 4096)))"
    case .migrate: return "\(world.machine.migrateHost(world.hostPage))"
    case .zapAll: world.machine.zapAll()
    case .split: return "\(world.machine.splitHost(world.hostPage))"
    case .collapse: return "\(world.machine.collapseHost(world.hostPage, to: .page2M))"
    case .age: _ = world.machine.clearFlushYoung(world.hostRange)
    case .testAge: _ = world.machine.testYoung(world.hostPage)
    case .write: return world.write(0x2222, to: World.page) ? "done" : "not written"
    case .protect:
      do throws(HostRegionError) {
        try world.machine.protectHost(world.hostRange, as: .readOnly)
      } catch { return "\(error)" }
    case .deleteSlot, .moveSlot, .logSlot, .addSlot: return changeSlot(world)
    }
    return "done"
  }

  private func changeSlot(_ world: World) -> String {
    var region = MemslotRegion(
      id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: World.slotBytes,
      hostAddress: world.base)
    switch self {
    case .deleteSlot: region.byteCount = 0
    case .moveSlot: region.guestAddress = GuestPhysical(Self.movedTo)
    case .logSlot: region.flags = .logDirty
    default:
      region.id = MemslotID(1)
      region.guestAddress = GuestPhysical(Self.addedAt)
      region.byteCount = 1 << 20
    }
    do throws(MemslotError) {
      try world.machine.setMemoryRegion(region)
    } catch { return "\(error)" }
    return "done"
  }
}

/// Two things that race, and what stood before.
private struct Race: CustomTestStringConvertible {
  var acts: [Act]
  var start: Start

  /// What the processors already have when it begins.
  enum Start: String, CaseIterable { case roots, writtenEntries }

  var testDescription: String {
    acts.map(\.rawValue).joined(separator: " and ") + " from " + start.rawValue
  }

  static let pairs: [[Act]] = [
    [.fault, .otherFault], [.fault, .unmap], [.fault, .migrate], [.fault, .protect],
    [.fault, .zapAll], [.fault, .deleteSlot], [.fault, .moveSlot], [.fault, .logSlot],
    [.fault, .split], [.fault, .collapse], [.fault, .age], [.fault, .testAge], [.unmap, .zapAll],
    [.migrate, .zapAll], [.unmap, .deleteSlot], [.migrate, .moveSlot], [.unmap, .addSlot],
    [.age, .zapAll], [.age, .unmap], [.write, .fault], [.write, .unmap], [.write, .migrate],
    [.unmapWide, .migrate], [.unmap, .unmapWide], [.collapse, .unmap], [.collapse, .protect],
    [.split, .unmap], [.collapse, .write],
    [.deleteSlot, .addSlot],
    [.moveSlot, .zapAll], [.addSlot, .logSlot],
  ]

  func has(_ act: Act) -> Bool { acts.contains(act) }

  static let all = pairs.flatMap { acts in
    Start.allCases.map { Race(acts: acts, start: $0) }
  }

  func world(_ scheduler: Scheduler) throws -> World {
    let backing = acts.map(\.backing).max() ?? .small
    let world = try World(scheduler, backing: backing)
    precondition(world.write(0x1111, to: World.page), "the page is there")
    for processor in 0..<2 {
      switch start {
      case .roots: _ = world.machine.access(processor, GuestPhysical(0x20_0000), .read)
      case .writtenEntries: _ = world.machine.access(processor, World.page, .write)
      }
    }
    return world
  }

  // MARK: The right outcome

  /// What is wrong with what came of it, if anything; nobody runs any more.
  func complaint(_ world: World, _ outcomes: [String]) -> String? {
    for (act, outcome) in zip(acts, outcomes) where !isLawful(outcome, of: act) {
      return "\(act.rawValue) gave \(outcome)"
    }
    if let violation = world.violation() { return violation.description }
    let address = has(.moveSlot) ? World.page + Act.movedTo : World.page
    let words = (0..<2).map { world.load($0, address) }
    if has(.deleteSlot) {
      return words == [nil, nil] ? nil : "a slot that was deleted is still read"
    }
    if has(.moveSlot), world.load(0, World.page) != nil { return "a slot is where it was before" }
    if words[0] != words[1] || words[0] != world.read(address) {
      return "the processors and the VMM read \(words)"
    }
    guard let word = words[0], lawfulWords.contains(word) else { return "found \(words)" }
    if has(.protect), case .translated = world.machine.access(0, World.page, .write) {
      return "a page that the host protected is written"
    }
    return world.violation()?.description
  }

  private var lawfulWords: [UInt64] {
    if has(.unmap) || has(.unmapWide) { return has(.write) ? [0, 0x2222] : [0] }
    return has(.write) ? [0x2222] : [0x1111]
  }

  private func isLawful(_ outcome: String, of act: Act) -> Bool {
    switch act {
    case .fault, .otherFault:
      if outcome.hasPrefix("translated") { return true }
      if outcome.hasPrefix("device") { return has(.deleteSlot) || has(.moveSlot) }
      return outcome.hasPrefix("failed(badAddress") || outcome.hasPrefix("failed(DirectMMU")
        ? has(.protect) : false
    case .migrate, .split, .collapse:
      return outcome == "done" || outcome == "nothingThere" || outcome == "unsuitable"
    default: return outcome == "done"
    }
  }
}

@Suite("Orderings of racing operations")
struct OrderingTests {
  @Test(
    "each pair of racing operations comes in three orders or more, and each ends well",
    arguments: Race.all)
  private func orderings(_ race: Race) throws {
    let explorer = ScheduleExplorer(interruptions: 2, limit: 16)
    let scheduler = Scheduler(.fixed([]))
    let exploration = try explorer.explore { policy in
      scheduler.policy = policy
      let world = try race.world(scheduler)
      var outcomes = ["", ""]
      let history = world.scheduler.run(
        race.acts.indices.map { index in { outcomes[index] = race.acts[index].perform(world) } })
      let schedule = history.schedule
      #expect(history.outcome == .ended, "\(history.text)")
      if history.outcome == .ended, let complaint = race.complaint(world, outcomes) {
        Issue.record("\(complaint), by the schedule \(schedule):\n\(history.text)")
      }
      return history
    }
    #expect(exploration.orders.count >= 3)
    #expect(exploration.runs == exploration.orders.count, "no schedule is tried twice")
  }
}
