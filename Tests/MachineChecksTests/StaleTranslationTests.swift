import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

/// Something that takes a translation away and "forgets" to tell the machine.
enum SilentChange: CaseIterable {
  case migrate, unmap, protectFromWrites, protectFromAll, poison, mergePages, splitHugePage
  case clearOwnEntry, clearOwnWriteRight, clearOwnDirtyBit, zapAndMapElsewhere

  /// Changes the page of guest frame 16 (linear page 0); frame 17 has the same bytes.
  func apply(to bench: borrowing Bench) throws {
    let page = bench.hostPage(16 << 12)
    let other = bench.hostPage(17 << 12)
    let memory = bench.machine.process.host.memory
    let nobody = Unnotified()
    var outcome = HostChangeOutcome.done
    switch self {
    case .migrate: outcome = bench.machine.process.migrate(page.lowerBound, telling: nobody)
    case .unmap: outcome = bench.machine.process.unmap(page, telling: nobody)
    case .protectFromWrites:
      try bench.machine.process.protect(page, .readOnly, telling: nobody)
    case .protectFromAll: try bench.machine.process.protect(page, .none, telling: nobody)
    case .poison: outcome = bench.machine.process.poison(page.lowerBound, telling: nobody)
    case .mergePages:
      outcome = bench.machine.process.merge(
        page.lowerBound, into: other.lowerBound, telling: nobody)
    case .splitHugePage:
      outcome = bench.machine.process.split(at: page.lowerBound, telling: nobody)
    case .clearOwnEntry, .clearOwnWriteRight, .clearOwnDirtyBit, .zapAndMapElsewhere:
      guard let place = bench.ownLeaf(16 << 12) else { preconditionFailure("page 0 is mapped") }
      let entry = memory.entry(at: place)
      let new: UInt64 =
        switch self {
        case .clearOwnWriteRight: entry & ~2
        case .clearOwnDirtyBit: entry & ~(1 << 9)
        case .zapAndMapElsewhere: entry + 0x1000
        default: 0
        }
      memory.setEntry(new, at: place)
    }
    #expect(outcome == .done)
  }

  /// Takes the machine's own entry away, which may name a page that is free by now: a machine that
  /// ends trusts its tables.
  func cleanUp(_ bench: borrowing Bench) {
    guard let place = bench.ownLeaf(16 << 12) else { return }
    bench.machine.process.host.memory.setEntry(0, at: place)
  }
}

@Suite("Stale translations towards the host")
struct StaleTranslationTests {
  /// A machine in which page 0 was read and written, so that every right is kept.
  private func bench(_ change: SilentChange, sets: Int, keepsWalks: Bool) throws -> Bench {
    var configuration = MachineConfiguration()
    configuration.translationSets = sets
    configuration.keepsWalks = keepsWalks ? .present : .absent
    var bench = try Bench(configuration, backing: change == .splitHugePage ? .page2M : .page4K)
    bench.setUpPaging()
    bench.write([0x1111_1111], at: 17 << 12)
    let read = bench.violation(0)
    let write = bench.violation(0, .write)
    #expect(read == nil && write == nil)
    return bench
  }

  @Test("a flush that was skipped shows in what the TLB keeps", arguments: SilentChange.allCases)
  func keptInTLB(change: SilentChange) throws {
    let bench = try bench(change, sets: 16, keepsWalks: false)
    let before = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(before == nil)
    try change.apply(to: bench)
    let after = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(after != nil)
    change.cleanUp(bench)
  }

  @Test(
    "a flush that was skipped shows in what is kept between walks", arguments: SilentChange.allCases
  )
  func keptBetweenWalks(change: SilentChange) throws {
    let bench = try bench(change, sets: 0, keepsWalks: true)
    let before = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(before == nil)
    try change.apply(to: bench)
    let after = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(after != nil)
    change.cleanUp(bench)
  }

  @Test(
    "a flush that was skipped shows at the next access",
    arguments: SilentChange.allCases, [AccessKind.read, .write])
  func nextAccess(change: SilentChange, kind: AccessKind) throws {
    for (sets, keepsWalks) in [(16, false), (0, true)] {
      var bench = try bench(change, sets: sets, keepsWalks: keepsWalks)
      try change.apply(to: bench)
      let violation = bench.violation(0, kind)
      #expect(violation != nil)
      change.cleanUp(bench)
    }
  }

  @Test("a large page that was split in place is still translated by its parts, all of them")
  func splitInPlace() throws {
    var configuration = MachineConfiguration()
    configuration.translationSets = 0
    configuration.accessedDirty = .absent
    var bench = try Bench(configuration, backing: .page2M)
    bench.setUpPaging()
    bench.expectLawful(0)
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), flags: .logDirty, guestAddress: GuestPhysical(0), byteCount: 16 << 20,
        hostAddress: bench.base))
    let write = bench.check(ReferenceAccess(.physical(GuestPhysical(0x2000)), .write))
    #expect(write.violation == nil)
    let large = (0..<bench.machine.placeCapacity(of: 0)).filter {
      bench.machine.keptPlace(at: $0, of: 0)?.level == .page2M
    }
    #expect(!large.isEmpty)
    let lawful = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(lawful == nil)
    guard let place = bench.ownLeaf(0x1F_F000) else {
      Issue.record("every part is mapped")
      return
    }
    bench.machine.process.host.memory.setEntry(0, at: place)
    let stale = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(stale != nil)
  }

  @Test("what was announced leaves nothing stale")
  func announced() throws {
    for change in 0..<5 {
      var bench = try bench(.migrate, sets: 16, keepsWalks: true)
      let page = bench.hostPage(16 << 12)
      switch change {
      case 0: _ = bench.machine.migrateHost(page.lowerBound)
      case 1: _ = bench.machine.unmapHost(page)
      case 2: try bench.machine.protectHost(page, as: .readOnly)
      case 3: try bench.machine.protectHost(page, as: .none)
      default: bench.machine.zapAll()
      }
      let kept = bench.reference.violation(inKeptOf: 0, in: bench.machine)
      let read = bench.violation(0)
      #expect(kept == nil && read == nil)
    }
  }
}
