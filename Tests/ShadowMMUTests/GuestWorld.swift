import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PagingUnits
import VirtualMachine

/// A guest that edits its tables at random, on a machine with shadow paging and one without, which
/// must never differ.
///
/// The machine without keeps no translations, so that it always shows what the guest's tables say;
/// the guest flushes after each edit, so that the other has to show the same.
struct GuestWorld: ~Copyable {
  enum Mode: CaseIterable { case off, short, pae, long4, long5 }

  let shadow: Bench
  let direct: Bench
  var chance: Chance
  var mode: Mode
  var registers = ControlRegisters()
  var accesses = 0
  var faults = 0
  var stores = 0
  var tableStores = 0
  var largePages = 0
  var outOfSync = 0
  private let pool: [UInt64]
  /// Whether each table has a level of its own, so that page tables are nothing else.
  private let isTidy: Bool
  private let data: [UInt64]
  private var addresses: [UInt64] = []

  init(seed: UInt64, modes: [Mode], _ special: MachineConfiguration.SpecialRootKind) throws {
    var chance = Chance(seed)
    var configuration = MachineConfiguration()
    // Under nested page tables PAE paging reads its PDPTEs on each walk, without registers.
    configuration.vendor = modes.contains(.pae) || chance.oneIn(2) ? .intel : .amd
    configuration.specialRoots = special
    configuration.shadowPageLimit = chance.oneIn(3) ? 64 : nil
    configuration.prefetch = chance.oneIn(3) ? .absent : .present
    configuration.translationSets = chance.oneIn(2) ? 16 : 0
    configuration.keepsWalks = chance.oneIn(2) ? .present : .absent
    configuration.mmu = .shadow
    let backing = chance.pick([Level.page4K, .page2M])
    let shadow = try Bench(configuration, slot: 8 << 20, backing: backing)
    configuration.mmu = .direct
    configuration.prefetch = .absent
    configuration.translationSets = 0
    configuration.keepsWalks = .absent
    let direct = try Bench(configuration, slot: 8 << 20, backing: backing)
    pool = (0..<22).map { 0x10 + UInt64($0) }
    isTidy = seed % 2 == 1
    data = [0x100, 0x101, 0x200, 0x3FF, 0x400, 0x601, 0x7FF, 0x10, 0x12, 0x1F, 0x900]
    mode = modes[0]
    self.chance = chance
    self.shadow = shadow
    self.direct = direct
    fillTables()
    change(to: self.chance.pick(modes))
  }

  // MARK: The guest's state

  private mutating func change(to mode: Mode) {
    self.mode = mode
    registers = ControlRegisters()
    registers.cr0 = mode == .off ? 1 : 0x8000_0001
    if chance.oneIn(2) { registers.cr0 |= 1 << 16 }
    switch mode {
    case .off: break
    case .short: if chance.oneIn(4) == false { registers.cr4 |= 1 << 4 }
    case .pae: registers.cr4 |= 1 << 5
    case .long4, .long5:
      registers.cr4 |= 1 << 5
      registers.efer |= 1 << 8 | 1 << 10
      if mode == .long5 { registers.cr4 |= 1 << 12 }
    }
    if mode != .off {
      if chance.oneIn(2) { registers.efer |= 1 << 11 }
      if chance.oneIn(3) { registers.cr4 |= 1 << 20 }
      if chance.oneIn(3) { registers.cr4 |= 1 << 21 }
      if chance.oneIn(2) { registers.cr4 |= 1 << 7 }
    }
    addresses = (0..<10).map { _ in
      let small = chance.next()
      // Few different indices at each level, so that addresses share tables.
      let indices = [0, 1, 2, 3, 255, 256, 511]
      var address: UInt64 = 0
      switch mode {
      case .off: address = small & 0x9F_FFFF
      case .short:
        address =
          UInt64(chance.pick([0, 1, 2, 256, 515])) << 22 | UInt64(chance.pick([0, 1, 513])) << 12
      case .pae:
        address =
          UInt64(chance.below(4)) << 30
          | UInt64(chance.pick(indices)) << 21 | UInt64(chance.pick(indices)) << 12
      case .long4, .long5:
        for shift in [12, 21, 30, 39] as [UInt64] {
          address |= UInt64(chance.pick([0, 1, 511])) << shift
        }
        if mode == .long5 { address |= UInt64(chance.below(2)) << 48 }
        if mode == .long4 && address >> 47 & 1 == 1 { address |= 0xFFFF << 48 }
      }
      // Where tables have entries that are in use, if the page is one.
      let offset = chance.pick([0, 8, 0x400, 0x7F8, 0x800, 0xFF8, small & 0xFF8] as [UInt64])
      return address & ~0xFFF | offset
    }
    loadRoot(someRoot())
  }

  private mutating func loadRoot(_ frame: UInt64) {
    registers.cr3 = frame << 12
    if mode == .pae {
      if chance.oneIn(2) { registers.cr3 |= 0x20 }
      for index in 0..<4 {
        let word = shadow.read(registers.cr3 + UInt64(index * 8))
        registers.pdptes[index] = word & 0x3F_FFFF_F001
      }
    }
    shadow.machine[registersOf: 0] = registers
    direct.machine[registersOf: 0] = registers
    shadow.machine.invalidate(0, .currentSpace)
    direct.machine.invalidate(0, .allLinear)
  }

  /// The tables of a level.
  private func tables(_ level: Int) -> [UInt64] {
    switch level {
    case 1: Array(pool[10..<20])
    case 2: Array(pool[6..<10])
    case 3: Array(pool[2..<6])
    case 4: Array(pool[0..<2])
    default: Array(pool[20..<22])
    }
  }

  /// The table that the next root is to be.
  private mutating func someRoot() -> UInt64 {
    guard isTidy else { return chance.pick(pool) }
    switch mode {
    case .off, .short: return chance.pick(tables(2))
    case .pae: return chance.pick(tables(3))
    case .long4: return chance.pick(tables(4))
    case .long5: return chance.pick(tables(5))
    }
  }

  /// Where an entry of the table in `frame` leads.
  private mutating func target(from frame: UInt64) -> UInt64 {
    guard isTidy, let level = (1...5).first(where: { tables($0).contains(frame) }) else {
      return chance.oneIn(2) ? chance.pick(pool) : chance.pick(data)
    }
    if level > 1 { return chance.pick(tables(level - 1)) }
    return chance.oneIn(2) ? chance.pick(tables(1)) : chance.pick(data)
  }

  /// An entry of the table in `frame`: to another table or a page, with any rights.
  private mutating func entry(in frame: UInt64) -> UInt64 {
    if chance.oneIn(isTidy ? 24 : 8) { return chance.next() & ~1 }
    var word = target(from: frame) << 12
    word |= chance.pick([7, 7, 7, 3, 5, 1, 0x27, 0x67])
    if chance.oneIn(isTidy ? 14 : 6) {
      // A large page, now and then well formed.
      word = word & ~0x1F_F000 | 1 << 7
      if mode == .short { word &= ~0x3F_F000 }
    }
    if chance.oneIn(isTidy ? 40 : 12) { word |= 1 << 63 }
    if chance.oneIn(isTidy ? 90 : 30) { word |= 1 << 50 }
    return word
  }

  private mutating func fillTables() {
    for frame in pool {
      for index in [0, 1, 2, 3, 4, 255, 256, 511] as [UInt64] {
        let word = entry(in: frame)
        shadow.write(word, 8, at: frame << 12 | index * 8)
        direct.write(word, 8, at: frame << 12 | index * 8)
      }
    }
  }

  // MARK: Steps

  /// Makes one step; what differs, if anything.
  mutating func step(modes: [Mode]) -> String? {
    switch chance.below(40) {
    case 0: change(to: chance.pick(modes))
    case 1, 2: loadRoot(someRoot())
    case 3: hostChange()
    case 4, 10: return storeByAddress()
    case 8, 9: return ageSomewhere()
    case 5: if chance.oneIn(8) { shadow.machine.zapAll(); direct.machine.zapAll() }
    case 6: if chance.oneIn(6) { moveSlot() }
    case 7:
      registers.cr0 ^= 1 << 16
      shadow.machine[registersOf: 0] = registers
      direct.machine[registersOf: 0] = registers
    default: return access()
    }
    return nil
  }

  private mutating func access() -> String? {
    let address = GuestVirtual(chance.pick(addresses))
    let kind = chance.pick([AccessKind.read, .write, .write, .fetch])
    let privilege = chance.pick([Privilege.user, .supervisor])
    registers.cpl = privilege == .user ? 3 : 0
    registers.ac = chance.oneIn(2)
    shadow.machine[registersOf: 0] = registers
    direct.machine[registersOf: 0] = registers
    let ours = shadow.machine.access(0, address, kind, privilege)
    let theirs = direct.machine.access(0, address, kind, privilege)
    accesses += 1
    let seen = Seen(ours)
    if case .pageFault = seen { faults += 1 }
    if case .device = theirs {
      // Who performs the access marks the guest's entries, which the hardware did not.
      _ = direct.machine.emulatedAccess(0, address, kind, privilege)
      // The tables' own absence is the guest's mistake to a walk, and a device's to the hardware.
      if case .pageFault(let code) = seen, code & 1 == 0 { return nil }
    }
    if seen != Seen(theirs) {
      return "\(mode) \(privilege) \(kind) of 0x\(String(address.raw, radix: 16)): "
        + "\(seen), without shadow paging \(Seen(theirs))"
    }
    guard kind == .write else { return nil }
    store(ours, theirs)
    return nil
  }

  /// Performs a store where both machines say that it goes.
  private mutating func store(_ ours: AccessOutcome, _ theirs: AccessOutcome) {
    guard case .translated(let there) = theirs else { return }
    var count = 8
    var word = entry(in: there.guestPhysical.raw >> 12)
    if chance.oneIn(4) {
      count = chance.pick([1, 2, 4, 8])
      word = chance.oneIn(2) ? 0 : word
    }
    if chance.oneIn(2) && there.guestPhysical.raw & 7 == 0 {
      // What is there, as if nobody had used it, or with another right.
      count = 8
      word = direct.read(there.guestPhysical.raw) & ~chance.pick([0x60, 0x40, 0x20])
      if chance.oneIn(3) { word ^= chance.pick([2, 4]) }
    }
    count = min(count, 4096 - Int(there.guestPhysical.pageOffset))
    stores += 1
    switch ours {
    case .translated(let here): shadow.store(word, count, here, isTable: false)
    case .tableStore(let here):
      tableStores += 1
      shadow.store(word, count, here, isTable: true)
    default: return
    }
    direct.store(word, count, there, isTable: false)
    if pool.contains(there.guestPhysical.raw >> 12) { flush() }
  }

  /// The guest has changed a table, and says so in one of the ways that there are.
  private mutating func flush() {
    switch chance.below(3) {
    case 0:
      for address in addresses {
        shadow.machine.invalidate(0, .linearAddress(GuestVirtual(address)))
      }
    case 1: shadow.machine.invalidate(0, .currentSpace)
    default: shadow.machine.invalidate(0, .allLinear)
    }
  }

  /// A store through some other mapping, of any size and alignment.
  private mutating func storeByAddress() -> String? {
    var offset = chance.below(4090)
    if chance.oneIn(2) {
      // Just before, inside or at an entry that is in use.
      offset = max(0, chance.pick([0, 1, 2, 3, 4, 255, 256, 511]) * 8 + chance.below(12) - 7)
    }
    let address = GuestPhysical(chance.pick(pool) << 12 | UInt64(min(offset, 4095)))
    let ours = shadow.machine.access(0, address, .write)
    let theirs = direct.machine.access(0, address, .write)
    if Seen(ours) != Seen(theirs) { return "\(Seen(ours)), \(Seen(theirs))" }
    store(ours, theirs)
    return nil
  }

  /// The guest clears marks of an entry that is in use, through some other mapping.
  private mutating func ageSomewhere() -> String? {
    let frame = chance.pick(pool)
    let words = direct.page(frame)
    let used = (0..<512).filter { words[$0] & 0x21 == 0x21 }
    guard !used.isEmpty else { return nil }
    let index = chance.pick(used)
    let address = GuestPhysical(frame << 12 | UInt64(index) * 8)
    let ours = shadow.machine.access(0, address, .write)
    guard case .tableStore(let here) = ours,
      case .translated(let there) = direct.machine.access(0, address, .write)
    else { return "a store by address came to \(ours)" }
    let word = words[index] & ~chance.pick([0x60, 0x40, 0x20])
    shadow.store(word, 8, here, isTable: true)
    direct.store(word, 8, there, isTable: false)
    flush()
    return nil
  }

  private mutating func hostChange() {
    let start = UInt64(chance.below(0x20)) << 12
    let range = shadow.base + start..<(shadow.base + start + UInt64(1 + chance.below(4)) << 12)
    switch chance.below(4) {
    case 0: _ = shadow.machine.swapOutHost(range)
    case 1: _ = shadow.machine.shareHost(range)
    case 2: _ = shadow.machine.migrateHost(range.lowerBound)
    default: _ = shadow.machine.ageHost(range, .clearAndFlush)
    }
  }

  /// The slot goes and comes back, its bytes untouched.
  private mutating func moveSlot() {
    do {
      try shadow.machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: 0,
          hostAddress: shadow.base))
      try shadow.machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: shadow.byteCount,
          hostAddress: shadow.base))
    } catch {
      fatalError("a slot goes and comes: \(error)")
    }
  }

  /// Counts what is there now.
  mutating func note() {
    if shadow.machine.statistic(.pages_2m) > 0 { largePages += 1 }
    if shadow.machine.statistic(.mmu_unsync) > 0 { outOfSync += 1 }
  }

  /// The first difference between the tables of the two guests, accessed and dirty bits included.
  func difference() -> String? {
    for frame in pool {
      let (ours, theirs) = (shadow.page(frame), direct.page(frame))
      if ours == theirs { continue }
      for index in 0..<512 where ours[index] != theirs[index] {
        return "frame 0x\(String(frame, radix: 16)), entry \(index): "
          + "0x\(String(ours[index], radix: 16)), "
          + "without shadow paging 0x\(String(theirs[index], radix: 16))"
      }
    }
    return nil
  }
}
