import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
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
  private(set) var seen = Seen()

  /// What accesses came to, counted, so that nothing is believed to be tested that never happens.
  struct Seen: Hashable {
    var accesses = 0
    var memory = 0
    /// Where the tables say something else now.
    var stale = 0
    var pageFaults = 0
    var reserved = 0
    var keyed = 0
    var generalProtections = 0
    var devices = 0
    var failures = 0
    var poisoned = 0
    var emulated = 0

    mutating func add(_ other: Seen) {
      accesses += other.accesses
      memory += other.memory
      stale += other.stale
      pageFaults += other.pageFaults
      reserved += other.reserved
      keyed += other.keyed
      generalProtections += other.generalProtections
      devices += other.devices
      failures += other.failures
      poisoned += other.poisoned
      emulated += other.emulated
    }

    mutating func note(_ outcome: AccessOutcome, _ verdict: ReferenceVerdict) {
      accesses += 1
      if verdict.access.performer == .hypervisor { emulated += 1 }
      switch outcome {
      case .translated(let translation):
        memory += 1
        if translation.guestPhysical != verdict.currentDestination { stale += 1 }
      case .pageFault(let code):
        pageFaults += 1
        if code & 8 != 0 { reserved += 1 }
        if code & 32 != 0 { keyed += 1 }
      case .generalProtection: generalProtections += 1
      case .device: devices += 1
      case .failed(.poisoned, _): poisoned += 1
      case .failed: failures += 1
      case .stuck, .tableStore, .subpageRefused, .subpageMiss,
        .subpageMisconfiguration:
        break
      }
    }
  }

  enum Mode: CaseIterable { case off, short, pae, long4, long5 }

  init(seed: UInt64) throws {
    var chance = Chance(seed)
    var configuration = MachineConfiguration()
    configuration.vendor = chance.oneIn(2) ? .intel : .amd
    configuration.accessedDirty = chance.oneIn(3) ? .absent : .present
    configuration.keepsWalks = chance.oneIn(3) ? .absent : .present
    configuration.translationSets = chance.oneIn(4) ? 0 : 4
    configuration.guestPhysicalBits = [34, 40, 46][Int(chance.below(3))]
    configuration.rootLevel = chance.oneIn(4) ? .level5 : .level4
    configuration.largestPage = chance.oneIn(4) ? .page4K : .page1G
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

  /// Where the odd slots lie, each of 16 frames or more.
  private static let oddities: [UInt64] = (64..<73).map { $0 << 20 }

  /// A read-only alias of frames 0 to 63, and memory of every kind that a host has: protected, of
  /// files, of devices inside and outside memory, and none at all.
  private static func addSlots(_ bench: borrowing Bench) throws {
    let bytes: UInt64 = 16 << 12
    let file = try bench.machine.process.open(HostFile(seed: 7, byteCount: 12 << 12))
    let requests: [HostRegionRequest?] = [
      nil,
      HostRegionRequest(
        byteCount: bytes, backing: .anonymous(largestPage: .page4K), protection: .readOnly),
      HostRegionRequest(byteCount: bytes, backing: .file(file, offset: 0, .shared)),
      HostRegionRequest(byteCount: bytes, backing: .file(file, offset: 4096, .copyOnWrite)),
      HostRegionRequest(
        byteCount: bytes,
        backing: .device(firstFrame: bench.machine.process.host.deviceFrames.lowerBound)),
      HostRegionRequest(byteCount: bytes, backing: .device(firstFrame: HostFrame(1 << 20))),
      HostRegionRequest(
        byteCount: bytes, backing: .device(firstFrame: HostFrame(1 << 20)), protection: .readOnly),
      HostRegionRequest(
        byteCount: bytes, backing: .anonymous(largestPage: .page4K), protection: .none),
    ]
    for (index, request) in requests.enumerated() {
      let base = try request.map { try bench.machine.process.add($0) } ?? bench.base
      try bench.machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(UInt16(index + 1)), flags: index == 0 ? .readOnly : [],
          guestAddress: GuestPhysical(oddities[index]), byteCount: index == 0 ? 64 << 12 : bytes,
          hostAddress: base))
    }
    // Nothing of the process's is there.
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(20), guestAddress: GuestPhysical(oddities[8]), byteCount: bytes,
        hostAddress: HostVirtual(0x5000)))
    // System-management mode sees the same memory elsewhere.
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), addressSpace: .systemManagement, guestAddress: GuestPhysical(0),
        byteCount: 8 << 20, hostAddress: bench.base + 0x4000))
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
    case 1, 2: Self.oddities[Int(chance.below(9))] >> 12 + chance.below(16)
    case 3 where chance.oneIn(3): chance.next() & 0xFF_FFFF_FFFF
    default: 1 + chance.below(15)
    }
  }

  private mutating func entry() -> UInt64 {
    var entry = target() << 12 | 7
    for bit in [5, 6] as [UInt64] where chance.oneIn(2) { entry |= 1 << bit }
    if mode == .long4 || mode == .long5 { entry |= chance.below(4) << 59 }
    for bit in [1, 2, 8, 63] as [UInt64] where chance.oneIn(12) { entry ^= 1 << bit }
    if chance.oneIn(12) { entry |= 1 << 7 }
    if entry >> 7 & 1 == 1 && !chance.oneIn(4) { entry &= ~(0x1FF << 12) }
    if chance.oneIn(20) { entry &= ~1 }
    if chance.oneIn(40) { entry |= 1 << chance.below(64) }
    if mode == .short { entry = entry & 0xFFFF_FFFF | (entry << 32 | entry >> 32) & ~0xFFFF_FFFF }
    return entry
  }

  /// The few addresses in use: each level's index is one of two.
  private mutating func address() -> UInt64 {
    var address = chance.next() & 0xFFF
    for shift in [12, 21, 30, 39] as [UInt64] where chance.oneIn(2) { address |= 1 << shift }
    if mode == .long5 && chance.oneIn(2) { address |= 1 << 48 }
    if mode == .short && chance.oneIn(2) { address |= 1 << 22 }
    if chance.oneIn(64) { address = chance.next() }
    return address
  }

  private mutating func writeEntry() {
    // A word holds two entries of 32-bit paging.
    let index = mode == .short ? 0 : chance.below(2) * 8
    bench.write([entry()], at: (1 + chance.below(15)) << 12 | index)
  }

  // MARK: Steps

  /// One random step; what it broke.
  mutating func step() throws -> Violation? {
    let processor = Int(chance.below(2))
    switch chance.below(64) {
    case 0..<14: writeEntry()
    case 14:
      setRegisters(processor)
      // Whatever the registers say now, an architecture that loads them so flushes.
      bench.invalidate(.allLinear, of: processor)
    case 15..<17: invalidate(processor)
    case 17: changeHost()
    case 18: try changeSlots()
    case 20 where chance.oneIn(4):
      let space = bench.machine.addressSpace(of: processor)
      bench.machine.setAddressSpace(
        space == .normal ? .systemManagement : .normal, of: processor)
    case 19: switchRoot(processor)
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
    let other = bench.hostPage(chance.below(32) << 12)
    switch chance.below(12) {
    case 10, 11: _ = bench.machine.process.swapOut(page.lowerBound, telling: bench.machine)
    case 0: _ = bench.machine.migrateHost(page.lowerBound)
    case 1: _ = bench.machine.splitHost(page.lowerBound)
    case 2: _ = bench.machine.collapseHost(page.lowerBound, to: .page2M)
    case 3: _ = bench.machine.unmapHost(page)
    case 4: try? bench.machine.protectHost(page, as: .readOnly)
    case 5: try? bench.machine.protectHost(page, as: chance.oneIn(4) ? .none : .readWrite)
    case 6:
      _ = bench.machine.process.merge(
        page.lowerBound, into: other.lowerBound, telling: bench.machine)
    case 7 where chance.oneIn(2):
      _ = bench.machine.process.poison(page.lowerBound, telling: bench.machine)
    case 8: _ = bench.machine.process.age(page, .clear, telling: bench.machine)
    case 9: _ = bench.machine.process.age(page, .clearAndFlush, telling: bench.machine)
    default: bench.machine.zapAll()
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
    let result = bench.check(
      ReferenceAccess(
        processor: processor, target, kind, privilege,
        by: chance.oneIn(8) ? .hypervisor : .processor, byteCount: 1))
    seen.note(result.outcome, result.verdict)
    return result.violation
      ?? bench.reference.violation(inKeptOf: processor, in: bench.machine)
  }
}
