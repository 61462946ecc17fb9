import DirectMMU
@testable import GuestMemory
@testable import HostMemory
import MachineChecks
import MachineEvents
@testable import PageTables
import PagingUnits
import Testing
import VirtualMachine

/// Each test breaks one thing and expects the rule about it to be named, and no other first.
@Suite("A machine that was corrupted")
struct CorruptionTests {
  typealias Vendor = MachineConfiguration.Vendor
  private static let vendors = Vendor.allCases

  /// The rule that a whole inspection names.
  private func named(_ bench: borrowing InvariantBench) -> String? {
    MachineInspection.invariant(in: bench.machine)?.rule
  }

  @Test("that nobody touched breaks no rule", arguments: vendors)
  func sound(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    #expect(MachineInspection.invariant(in: bench.machine) == nil)
    #expect(bench.machine.statistic(.pages_4k) == 4)
    #expect(bench.machine.statistic(.pages_2m) == 1)
  }

  // MARK: Entries

  @Test("a frozen entry that stays is seen", arguments: vendors)
  func frozen(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    bench.corrupt(0x4000) { _ in SPTE.frozen.raw }
    #expect(named(bench) == FrozenEntries.rule)
    #expect(FrozenEntries.violation(in: bench.machine) != nil)
  }

  @Test("a reserved bit in an entry is seen", arguments: vendors, [46, 47, 51] as [UInt64])
  func reservedAddress(vendor: Vendor, bit: UInt64) throws {
    let bench = try InvariantBench(vendor)
    bench.corrupt(0x1000) { $0 | 1 << bit }
    #expect(named(bench) == EntryFormats.rule)
    bench.corrupt(0x1000) { $0 & ~(1 << bit) }
    bench.corrupt(InvariantBench.largeStart) { $0 | 1 << 13 }
    #expect(named(bench) == EntryFormats.rule)
  }

  @Test("rights that EPT does not have are seen", arguments: [0b010, 0b110] as [UInt64])
  func misconfiguration(rights: UInt64) throws {
    let bench = try InvariantBench(.intel)
    bench.corrupt(0x1000) { $0 & ~0b111 | rights }
    #expect(named(bench) == EntryFormats.rule)
  }

  @Test("words that are neither present nor anything else are seen", arguments: vendors)
  func garbage(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    bench.corrupt(0x4000) { $0 | 1 << 20 }
    #expect(named(bench) == EntryFormats.rule)
  }

  @Test("a table whose row names another parent entry is seen")
  func parent() throws {
    let bench = try InvariantBench()
    let id = bench.table(of: 0x1000)
    bench.machine.tables.arena[id].parentEntry = HostPhysical(0x1008)
    #expect(named(bench) == TableLinks.rule)
    bench.machine.tables.arena[id].parentEntry = HostPhysical(0)
  }

  @Test("an entry that points to a page as if it were a table is seen")
  func noTable() throws {
    let bench = try InvariantBench()
    let upper = bench.machine.tables.arena[bench.table(of: 0x1000)].parentEntry
    let memory = bench.machine.tables.memory
    let sound = memory.entry(at: upper)
    let page = bench.path(to: 0x2000).target.address.raw
    memory.setEntry(sound & ~SPTELayout.frame.mask | page, at: upper)
    #expect(named(bench) == TableLinks.rule)
    memory.setEntry(sound, at: upper)
  }

  @Test("a table of another role than its root's is seen")
  func role() throws {
    let bench = try InvariantBench()
    let id = bench.table(of: 0x1000)
    let word = bench.machine.tables.arena[id].role.word
    bench.machine.tables.arena[id].role = ShadowPageRole(word: word ^ 1 << 9)
    #expect(named(bench) == TableRoles.rule)
    bench.machine.tables.arena[id].role = ShadowPageRole(word: word)
    bench.machine.tables.arena[id].generation ^= 1
    #expect(named(bench) == TableRoles.rule)
  }

  @Test("an invalidated root that still maps something is seen")
  func emptied() throws {
    let bench = try InvariantBench()
    let root = bench.machine.root(of: 0)
    bench.machine.tables.arena[root].role.isInvalid = true
    #expect(named(bench) == EmptiedRoots.rule)
    bench.machine.tables.arena[root].role.isInvalid = false
  }

  @Test("a writable entry that is not MMU-writable is seen", arguments: vendors)
  func states(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    let writable =
      vendor == .intel ? SPTELayout.EPT.mmuWritable.mask : SPTELayout.NPT.mmuWritable.mask
    bench.corrupt(0x1000) { $0 & ~writable }
    #expect(named(bench) == EntryStates.rule)
    bench.corrupt(0x1000) { $0 | writable }
    bench.corrupt(0x1000) { $0 | 1 << 52 }
    #expect(named(bench) == EntryStates.rule)
  }

  @Test("a tracked entry without saved rights, and saved rights without need, are seen")
  func tracking() throws {
    var configuration = MachineConfiguration()
    configuration.accessedDirty = .absent
    configuration.processors = 2
    configuration.prefetch = .absent
    let bench = try InvariantBench(configuration)
    #expect(named(bench) == nil)
    bench.corrupt(0x1000) { $0 | SPTELayout.EPT.savedRead.mask }
    #expect(named(bench) == EntryStates.rule)
    bench.corrupt(0x1000) { $0 & ~(SPTELayout.EPT.savedRead.mask | 0b111) }
    #expect(named(bench) == EntryStates.rule)
  }

  @Test("a device's entry inside a memslot is seen", arguments: vendors)
  func device(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    let generation = bench.machine.slots.generation(of: .normal).raw
    let encoding = bench.machine.tables.encoding
    func put(_ frame: UInt64, _ generation: UInt64) {
      bench.corrupt(0x4000) { _ in
        encoding.mmio(GuestFrame(frame), .all, generation: generation).raw
      }
    }
    put(4, generation)
    #expect(named(bench) == DeviceEntries.rule)
    // Too old to be believed.
    put(4, generation - 2)
    #expect(named(bench) == nil)
    // Of the future, of the other address space, of another frame.
    put(4, generation + 2)
    #expect(named(bench) == DeviceEntries.rule)
    put(4, generation - 1)
    #expect(named(bench) == DeviceEntries.rule)
    put(5, generation - 2)
    #expect(named(bench) == DeviceEntries.rule)
  }

  @Test("a leaf that maps another frame is seen", arguments: vendors)
  func target(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    bench.corrupt(0x1000) { $0 ^ 1 << 12 }
    #expect(named(bench) == LeafTargets.rule)
  }

  @Test("a leaf larger than the host's page is seen", arguments: vendors)
  func size(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    _ = bench.machine.process.split(at: bench.large, telling: Unnotified())
    #expect(named(bench) == LeafSizes.rule)
  }

  @Test("a leaf larger than the memslot permits is seen")
  func refusedSize() throws {
    let bench = try InvariantBench()
    let frame = GuestPhysical(InvariantBench.largeStart).frame
    let holder = bench.machine.slots.slot(containing: frame, in: .normal)
    let slot = try #require(holder)
    bench.machine.slots.refuseHugePages(in: slot, around: frame)
    #expect(named(bench) == LeafSizes.rule)
  }

  @Test("a leaf that may be written while the host's page may not is seen", arguments: vendors)
  func rights(vendor: Vendor) throws {
    let bench = try InvariantBench(vendor)
    try bench.machine.process.protect(
      bench.small..<(bench.small + InvariantBench.slotBytes), .readOnly, telling: Unnotified())
    #expect(named(bench) == LeafRights.rule)
  }

  // MARK: Counts and lists

  @Test(
    "a wrong statistic is seen", arguments: [.pages_4k, .pages_2m, .pages_1g] as [MachineCounter])
  func statistic(counter: MachineCounter) throws {
    let bench = try InvariantBench()
    bench.machine.tables.counters.add(1, to: counter)
    #expect(named(bench) == LeafStatistics.rule)
  }

  @Test("a table that is in no list any more is seen")
  func conservation() throws {
    let bench = try InvariantBench()
    let id = bench.machine.stockedTable(0, of: 1)
    bench.machine.tables.arena[id].state = .free
    #expect(named(bench) == TableConservation.rule)
    bench.machine.tables.arena[id].state = .cached
    // An entry that lost its table leaves the table behind.
    let upper = bench.machine.tables.arena[bench.table(of: InvariantBench.device.raw)].parentEntry
    let sound = bench.machine.tables.memory.exchangeEntry(SPTE.nonpresent.raw, at: upper)
    #expect(named(bench) == TableConservation.rule)
    bench.machine.tables.memory.setEntry(sound, at: upper)
    #expect(named(bench) == nil)
  }

  @Test("a table's frame that leads to another row, or is free, is seen")
  func frame() throws {
    let bench = try InvariantBench()
    let id = bench.table(of: 0x1000)
    let frame = bench.machine.tables.arena[id].frame
    bench.machine.process.host.setOwner(id.number + 1, of: frame)
    #expect(named(bench) == TableFrames.rule)
    bench.machine.process.host.setOwner(id.number, of: frame)
    bench.machine.process.host.freeTable(frame)
    #expect(named(bench) == TableFrames.rule)
    let again = bench.machine.process.host.allocateTable(owner: id.number)
    #expect(again == frame)
    #expect(named(bench) == nil)
  }

  @Test("a stocked table that is not empty is seen")
  func stock() throws {
    let bench = try InvariantBench()
    let id = bench.machine.stockedTable(0, of: 0)
    let place = bench.machine.tables.arena[id].frame.address + 4088
    bench.machine.tables.memory.setEntry(0, at: place)
    #expect(named(bench) == StockedTables.rule)
  }

  @Test("a retired table that still maps something is seen")
  func retired() throws {
    let bench = try InvariantBench()
    // Small pages, then one large page over their table, which is retired by a fault.
    #expect(bench.machine.splitHost(bench.large) == .done)
    _ = bench.machine.access(0, GuestPhysical(InvariantBench.largeStart), .write)
    let table = bench.table(of: InvariantBench.largeStart)
    let leaf = bench.path(to: InvariantBench.largeStart).entry
    #expect(bench.machine.collapseHost(bench.large, to: .page2M) == .done)
    _ = bench.machine.access(0, GuestPhysical(InvariantBench.largeStart), .write)
    #expect(bench.machine.tables.arena[table].state == .retired)
    #expect(named(bench) == nil)
    bench.machine.tables.memory.setEntry(
      leaf.raw, at: bench.machine.tables.arena[table].frame.address)
    #expect(named(bench) == RetiredTables.rule)
  }

  @Test("a root with a reference too many or too few is seen")
  func references() throws {
    let bench = try InvariantBench()
    let root = bench.machine.root(of: 0)
    bench.machine.tables.arena[root].rootReferences += 1
    #expect(named(bench) == RootReferences.rule)
    bench.machine.tables.arena[root].rootReferences -= 2
    #expect(named(bench) == RootReferences.rule)
    bench.machine.tables.arena[root].rootReferences += 1
  }

  @Test("an active list whose links do not agree is seen")
  func lists() throws {
    let bench = try InvariantBench()
    bench.machine.setAddressSpace(.systemManagement, of: 1)
    _ = bench.machine.access(1, GuestPhysical(0), .read)
    #expect(named(bench) == nil)
    // The older of the two roots is second on the list.
    let second = bench.machine.root(of: 0)
    let before = bench.machine.tables.arena[second].previous
    #expect(before != .none)
    bench.machine.tables.arena[second].previous = .none
    #expect(named(bench) == ListedTables.rule)
    bench.machine.tables.arena[second].previous = before
  }

  @Test("what an operation left open is seen")
  func rest() throws {
    let bench = try InvariantBench()
    bench.machine.tables.quiet.enter(1)
    #expect(named(bench) == Rest.rule)
    bench.machine.tables.quiet.leave(1)
    bench.machine.tables.lock.lockShared()
    #expect(named(bench) == Rest.rule)
    bench.machine.tables.lock.unlockShared()
    bench.machine.slots.invalidations.notifierBegan()
    #expect(named(bench) == Rest.rule)
    bench.machine.slots.invalidations.notifierEnded()
    bench.machine.slots.invalidations.begin()
    #expect(named(bench) == Rest.rule)
    bench.machine.slots.invalidations.end()
    #expect(named(bench) == nil)
  }

  @Test("a generation that is smaller than it was is seen")
  func generations() throws {
    let older = try InvariantBench()
    let newer = try InvariantBench()
    try newer.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(2), guestAddress: GuestPhysical(1 << 32), byteCount: 1 << 20,
        hostAddress: HostVirtual(0)))
    var watch = GenerationWatch(older.machine)
    #expect(watch.violation(in: older.machine) == nil)
    #expect(watch.violation(in: newer.machine) == nil)
    #expect(watch.violation(in: older.machine)?.rule == GenerationWatch.rule)
  }

  // MARK: Memslots and host

  @Test("memslots that overlap are seen")
  func overlap() throws {
    let bench = try InvariantBench()
    let first = bench.machine.slots.slot(MemslotID(0), in: .normal)
    var slot = try #require(first)
    slot.id = MemslotID(7)
    slot.baseFrame = GuestFrame(0x800)
    let active = bench.machine.slots.activeIndex(.normal)
    // SAFETY: nobody else uses the machine, whose sets live as long as it does.
    unsafe bench.machine.slots.set(active).pointee.replace(nil, with: slot)
    #expect(named(bench) == MemslotOrder.rule)
  }

  @Test("a reason against huge pages that nobody has is seen")
  func refusals() throws {
    let bench = try InvariantBench()
    let first = bench.machine.slots.slot(MemslotID(0), in: .normal)
    let slot = try #require(first)
    bench.machine.slots.refuseHugePages(in: slot, around: slot.baseFrame)
    #expect(named(bench) == HugePageCounts.rule)
    bench.machine.slots.allowHugePages(in: slot, around: slot.baseFrame)
    #expect(named(bench) == nil)
  }

  @Test("a mapping count that is too high is seen")
  func mappings() throws {
    let bench = try InvariantBench()
    let records = bench.machine.process.host.records
    let frame = bench.path(to: 0x1000).target
    records.store(2, frame, 2)
    #expect(named(bench) == HostMappings.rule)
    records.store(1, frame, 2)
    #expect(named(bench) == nil)
  }

  @Test("a frame that two entries map and one counts is seen")
  func doubleMapping() throws {
    let bench = try InvariantBench()
    _ = bench.machine.process.lookUp(bench.small + 0x8000, for: .write, telling: Unnotified())
    let process = bench.machine.process.walk(bench.machine.process.root, bench.small + 0x8000)
    let frame = bench.path(to: 0x1000).target
    bench.machine.tables.memory.setEntry(process.entry.moved(to: frame).raw, at: process.place)
    #expect(named(bench) == HostMappings.rule)
    bench.machine.tables.memory.setEntry(process.entry.raw, at: process.place)
    #expect(named(bench) == nil)
  }

  @Test(
    "a frame that nobody maps and nobody freed is seen",
    arguments: [FrameKind.anonymous, .table, .file])
  func lost(kind: FrameKind) throws {
    let bench = try InvariantBench()
    let allocated = bench.machine.process.host.allocate(.page4K, as: kind)
    let block = try #require(allocated)
    #expect(named(bench) == HostAccounts.rule)
    bench.machine.process.host.free(block.frame)
    #expect(named(bench) == nil)
  }

  @Test("a block that is on a free list and in use is seen")
  func freeBlock() throws {
    let bench = try InvariantBench()
    let records = bench.machine.process.host.records
    let free = bench.machine.process.host.withFreeBlocks { buddy in
      buddy.freeBlock(.page4K, after: nil) ?? buddy.freeBlock(FrameOrder(1), after: nil)
    }
    let frame = try #require(free)
    let state = records.load(frame, 0)
    records.store(FrameRecords.state(.anonymous, .page4K), frame, 0)
    #expect(named(bench) == FreeBlocks.rule)
    records.store(state, frame, 0)
    #expect(named(bench) == nil)
  }
}
