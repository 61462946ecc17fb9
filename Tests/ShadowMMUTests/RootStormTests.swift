import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine
import X86Paging

@testable import ShadowMMU

/// Roots of every row in random order, over tables that change: what the fuzzer cannot reach,
/// because no guest of its runs under a host's nested page tables yet.
@Suite("Roots of every row, one after another")
struct RootStormTests {
  typealias Design = MachineConfiguration.SpecialRootKind

  @Test(
    "shadow tables agree with the guest's and with each other all the time",
    arguments: 0..<8 as Range<UInt64>, Design.allCases)
  func storm(seed: UInt64, design: Design) throws {
    var storm = try RootStorm(seed: seed, design)
    var fixed = 0
    for step in 0..<300 {
      if storm.step() == .fixed { fixed += 1 }
      // A look at everything takes a thousand times as long as a step.
      if step % 6 == 5, let found = storm.violation {
        Issue.record("step \(step), \(storm.row): \(found)")
        break
      }
    }
    #expect(fixed > 5)
    let left = storm.end()
    #expect(left == 0)
  }
}

/// One processor that is given roots by hand.
private struct RootStorm: ~Copyable {
  var one: RootBench
  var chance: Chance
  var row = RootRow.own[0]
  private let rows = RootRow.own + RootRow.nested
  /// Where the guest's tables lie: the roots of all rows among them.
  private let pool: [UInt64] = [
    0x40_0000, 0x20_0000, 0x30_0000, 0x21_0000, 0x50_0000, 0x50_1000, 0x50_2000,
  ]

  init(seed: UInt64, _ design: RootStorm.Design) throws {
    one = try RootBench(design)
    chance = Chance(seed)
    for _ in 0..<40 { writeEntry() }
    load()
  }

  typealias Design = MachineConfiguration.SpecialRootKind

  /// Does something; what came of it if it was a fault.
  mutating func step() -> ShadowFaultOutcome? {
    switch chance.below(20) {
    case 0: load()
    case 1...6: writeEntry()
    case 7:
      one.bench.machine.zapAll()
      one.free(.obsolete)
    case 8:
      one.bench.machine.shadow.flush(
        .everything, &one.state, one.bench.machine.tables, one.bench.machine.slots,
        one.bench.machine.process)
    case 9:
      one.bench.machine.shadow.forget(
        GuestVirtual(address()), &one.state, one.bench.machine.tables, one.bench.machine.slots,
        one.bench.machine.process)
    case 10: one.bench.machine.trim(1 + chance.below(4))
    default:
      if one.isObsolete { one.free(.obsolete) }
      if one.state.root == .none { #expect(one.loadRoot(row.registers) == .loaded) }
      let kind = chance.pick([AccessKind.read, .write, .fetch])
      return one.fault(address(), kind, row.registers)
    }
    return nil
  }

  /// Another root, in the place of all that there were.
  private mutating func load() {
    one.free(.all)
    row = chance.pick(rows)
    if let levels = row.levels {
      #expect(one.loadNested(row.registers, levels: levels) == .loaded)
    } else {
      #expect(one.load(row.registers) == .loaded)
    }
  }

  /// The guest stores an entry: a table, a page, a large page, nothing; by 4 or by 8 bytes.
  private mutating func writeEntry() {
    let isShort = chance.oneIn(3)
    let index = chance.pick([0, 0, 1, 2, 511, isShort ? 256 : 3, isShort ? 768 : 4] as [UInt64])
    let place = chance.pick(pool) + index * (isShort ? 4 : 8)
    let rights = chance.pick([0x67, 0x67, 0x65, 0x63, 0x27, 7, 1, 0] as [UInt64])
    let word =
      chance.oneIn(4)
      ? chance.pick([0, 0x40_0000, 0x60_0000] as [UInt64]) | rights | 0x80
      : (chance.oneIn(2) ? chance.pick(pool) : UInt64(chance.below(0x800)) << 12) | rights
    one.bench.write(word, isShort ? 4 : 8, at: place)
    one.bench.machine.shadow.wrote(
      GuestPhysical(place), count: isShort ? 4 : 8, one.state, one.bench.machine.tables,
      one.bench.machine.slots, one.bench.machine.process)
  }

  /// An address behind entries that are in use.
  ///
  /// Special roots translate 4 GiB.
  private mutating func address() -> UInt64 {
    var address = UInt64(chance.below(0x1000))
    let indices = [0, 0, 0, 1, 2, 3, 511] as [UInt64]
    for shift in [12, 21, 30, 39] as [UInt64] where shift < 39 || row.depths.guest >= 4 {
      address |= chance.pick(indices) << shift
    }
    if row.depths.guest == 5 { address |= chance.pick([0, 0, 1]) << 48 }
    if row.depths.guest < 4 { return address & 0xFFFF_FFFF }
    let unused: UInt64 = row.depths.guest == 5 ? 7 : 16
    return UInt64(bitPattern: Int64(bitPattern: address << unused) >> Int64(unused))
  }

  /// What does not hold.
  var violation: Violation? {
    ShadowTables.violation(in: one.bench.machine)
      ?? ShadowDerivation.violation(in: one.bench.machine)
  }

  /// Gives everything back; how many tables are left when all are obsolete.
  consuming func end() -> Int {
    one.end()
    one.bench.machine.zapAll()
    return one.tables.arena.activeCount
  }
}
