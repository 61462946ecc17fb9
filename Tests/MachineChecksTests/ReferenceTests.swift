import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

/// A small world of guest tables and everything that may happen to it, by a seed.
///
/// The tables fill frames 1 to 15 and point at each other, at data, outside memory, and at memory
/// that may not be written.
struct RandomWorld: ~Copyable {
  var bench: Bench
  var chance: Chance
  let configuration: MachineConfiguration
  let mode: Mode
  /// Words that lie where the addresses in use make walks read.
  private var places: [UInt64] = []
  private(set) var accesses = 0
  private(set) var successes = 0

  enum Mode: CaseIterable { case off, short, pae, long4, long5 }

  init(seed: UInt64) throws {
    var chance = Chance(seed)
    var configuration = MachineConfiguration()
    configuration.vendor = chance.oneIn(2) ? .intel : .amd
    configuration.accessedDirty = chance.oneIn(3) ? .absent : .present
    configuration.keepsWalks = chance.oneIn(3) ? .absent : .present
    configuration.translationSets = chance.oneIn(4) ? 0 : 4
    configuration.guestPhysicalBits = [36, 40, 46][Int(chance.below(3))]
    configuration.processors = 2
    let mode = Mode.allCases[Int(chance.below(5))]
    let bench = try Bench(configuration, backing: chance.oneIn(2) ? .page4K : .page2M)
    try Self.addSlots(bench)
    self.configuration = configuration
    self.mode = mode
    self.bench = bench
    self.chance = chance
    for _ in 0..<60 { writeEntry() }
    for processor in 0..<2 { setRegisters(processor) }
  }

  /// A read-only alias of frames 0 to 63 at 64 MiB, and one of protected memory at 65 MiB.
  private static func addSlots(_ bench: borrowing Bench) throws {
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), flags: .readOnly, guestAddress: GuestPhysical(64 << 20),
        byteCount: 64 << 12, hostAddress: bench.base))
    let process = try bench.machine.process.add(
      HostRegionRequest(
        byteCount: 16 << 12, backing: .anonymous(largestPage: .page4K), protection: .readOnly))
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(2), guestAddress: GuestPhysical(65 << 20), byteCount: 16 << 12,
        hostAddress: process))
  }

  private mutating func setRegisters(_ processor: Int) {
    var registers = ControlRegisters()
    registers.cr0 = 0x10 | (mode == .off ? 0 : 1 << 31 | 1) | (chance.oneIn(2) ? 1 << 16 : 0)
    registers.cr3 = (1 + chance.below(2)) << 12
    switch mode {
    case .off: break
    case .short: registers.cr4 = chance.oneIn(2) ? 1 << 4 : 0
    case .pae: registers.cr4 = 1 << 5
    case .long4: registers.cr4 = 1 << 5
    case .long5: registers.cr4 = 1 << 5 | 1 << 12
    }
    for bit in [7, 20, 21, 22] as [UInt64] where chance.oneIn(2) { registers.cr4 |= 1 << bit }
    if mode == .long4 || mode == .long5 {
      registers.efer = 1 << 8 | 1 << 10
      if chance.oneIn(2) {
        registers.cr4 |= 1 << 17
        registers.cr3 |= chance.below(3)
      }
    }
    if chance.oneIn(2) { registers.efer |= 1 << 11 }
    registers.ac = chance.oneIn(2)
    registers.pkru = UInt32(truncatingIfNeeded: chance.next() & chance.next())
    for index in 0..<4 {
      registers.pdptes[index] = (1 + chance.below(8)) << 12 | (chance.oneIn(8) ? 0 : 1)
    }
    bench.machine[registersOf: processor] = registers
  }

  /// Where an entry may point to, mostly to tables.
  private mutating func target() -> UInt64 {
    switch chance.below(16) {
    case 0: 0x400 + chance.below(0xC00)
    case 1: 0x4000 + chance.below(16)
    case 2: 0x4100 + chance.below(16)
    case 3: chance.next() & 0xFF_FFFF_FFFF
    case 4: 0
    default: 1 + chance.below(15)
    }
  }

  private mutating func entry() -> UInt64 {
    var entry = target() << 12 | 7
    for bit in [5, 6, 8, 59, 60] as [UInt64] where chance.oneIn(2) { entry |= 1 << bit }
    for bit in [1, 2, 63] as [UInt64] where chance.oneIn(5) { entry ^= 1 << bit }
    if chance.oneIn(6) { entry |= 1 << 7 }
    if chance.oneIn(4) { entry = entry & ~(0x1FF << 12) }
    if chance.oneIn(20) { entry &= ~1 }
    if chance.oneIn(30) { entry |= 1 << chance.below(64) }
    if mode == .short { entry = entry & 0xFFFF_FFFF | (entry << 32 | entry >> 32) & ~0xFFFF_FFFF }
    return entry
  }

  /// The few addresses in use: each level's index is one of two.
  private mutating func address() -> UInt64 {
    var address = chance.next() & 0xFFF
    for shift in [12, 21, 30, 39, 48] as [UInt64] where chance.oneIn(2) { address |= 1 << shift }
    if mode == .short && chance.oneIn(2) { address |= 1 << 22 }
    if chance.oneIn(64) { address = chance.next() }
    return address
  }

  private mutating func writeEntry() {
    let index = mode == .short ? [0, 1024, 4][Int(chance.below(3))] / 8 * 8 : chance.below(2) * 8
    bench.write([entry()], at: (1 + chance.below(15)) << 12 | index)
  }

  // MARK: Steps

  /// One random step; what it broke.
  mutating func step() throws -> Violation? {
    let processor = Int(chance.below(2))
    switch chance.below(64) {
    case 0..<8: writeEntry()
    case 8:
      setRegisters(processor)
      // Whatever the registers say now, an architecture that loads them so flushes.
      bench.invalidate(.allLinear, of: processor)
    case 9..<12: invalidate(processor)
    case 12: changeHost()
    case 13: try changeSlots()
    case 14: switchRoot(processor)
    default: return access(processor)
    }
    return nil
  }

  /// MOV to CR3 that keeps translations, as far as the PCID says.
  private mutating func switchRoot(_ processor: Int) {
    let identifies = bench.machine[registersOf: processor].cr4 >> 17 & 1 == 1
    var registers = bench.machine[registersOf: processor]
    registers.cr3 = (1 + chance.below(3)) << 12 | (identifies ? chance.below(3) : 0)
    bench.machine[registersOf: processor] = registers
    if !identifies || chance.oneIn(2) { bench.invalidate(.currentSpace, of: processor) }
  }

  private mutating func invalidate(_ processor: Int) {
    let address = GuestVirtual(address())
    let what: Invalidation =
      switch chance.below(8) {
      case 0: .allLinear
      case 1: .currentSpace
      case 2: .space(pcid: UInt16(chance.below(3)))
      case 3: .allSpaces
      case 4: .linearAddressIn(pcid: UInt16(chance.below(3)), address)
      default: .linearAddress(address)
      }
    bench.invalidate(what, of: processor)
  }

  private mutating func changeHost() {
    let page = bench.hostPage((chance.oneIn(2) ? chance.below(32) : chance.below(4096)) << 12)
    switch chance.below(6) {
    case 0: _ = bench.machine.migrateHost(page.lowerBound)
    case 1: _ = bench.machine.splitHost(page.lowerBound)
    case 2: _ = bench.machine.collapseHost(page.lowerBound, to: .page2M)
    case 3: _ = bench.machine.unmapHost(page)
    case 4: try? bench.machine.protectHost(page, as: .readOnly)
    default: try? bench.machine.protectHost(page, as: .readWrite)
    }
  }

  private mutating func changeSlots() throws {
    let isThere = bench.machine.slots.slot(MemslotID(1), in: .normal) != nil
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), flags: .readOnly, guestAddress: GuestPhysical(64 << 20),
        byteCount: isThere ? 0 : 64 << 12, hostAddress: bench.base))
  }

  private mutating func access(_ processor: Int) -> Violation? {
    let kind = AccessKind.allCases[Int(chance.below(3))]
    let privilege = Privilege.allCases[Int(chance.below(3))]
    let target: ReferenceAccess.Target =
      chance.oneIn(16)
      ? .physical(GuestPhysical(target() << 12)) : .virtual(GuestVirtual(address()))
    accesses += 1
    let result = bench.check(
      ReferenceAccess(processor: processor, target, kind, privilege, byteCount: 1))
    if case .translated = result.outcome { successes += 1 }
    return result.violation
      ?? bench.reference.violation(inKeptOf: processor, in: bench.machine)
  }
}

@Suite("The reference")
struct ReferenceTests {
  @Test("agrees with the machine in random worlds of every mode and vendor")
  func randomWorlds() throws {
    var (accesses, successes) = (0, 0)
    for seed in 0..<1000 as Range<UInt64> {
      var world = try RandomWorld(seed: seed)
      for step in 0..<150 {
        if let violation = try world.step() {
          Issue.record("seed \(seed), step \(step), \(world.mode): \(violation)")
          return
        }
      }
      accesses += world.accesses
      successes += world.successes
      #expect(world.bench.reference.openVerdicts == 0)
    }
    // Neither side may be trivial.
    #expect(successes * 10 > accesses && successes * 10 < accesses * 9, "\(successes)/\(accesses)")
  }
}
