import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine

@testable import ShadowMMU

/// A 4-level guest with one leaf table, and its root, directory pointers, directory and table at
/// 0x1000, 0x2000, 0x3000 and 0x4000.
private func guest(
  wp: Bool = true, smep: Bool = false, backing: Level = .page4K
) throws -> Bench {
  var configuration = MachineConfiguration()
  configuration.mmu = .shadow
  configuration.translationSets = 0
  configuration.keepsWalks = .absent
  let bench = try Bench(configuration, slot: 16 << 20, backing: backing)
  bench.write(0x2007, 8, at: 0x1000)
  bench.write(0x3007, 8, at: 0x2000)
  bench.write(0x4007, 8, at: 0x3000)
  var state = registers(wp: wp, pae: true, long: true, smep: smep, cr3: 0x1000)
  state.cpl = 0
  bench.machine[registersOf: 0] = state
  return bench
}

@Suite("What follows from the guest's tables")
struct ConsequenceTests {
  @Test("the parts of a large page are marked dirty again after the guest clears the mark")
  func largePageParts() throws {
    let bench = try guest()
    let (directory, address) = (0x3008 as UInt64, GuestVirtual(0x20_0000))
    bench.write(0x40_0087, 8, at: directory)
    _ = bench.machine.access(0, address, .read, .supervisor)
    #expect(bench.read(directory) & 0x60 == 0x20)
    _ = bench.machine.access(0, address, .write, .supervisor)
    #expect(bench.read(directory) & 0x60 == 0x60)
    // Another part, which is not looked at before it is written again.
    _ = bench.machine.access(0, GuestVirtual(0x20_5000), .write, .supervisor)
    bench.write(0x40_00A7, 8, at: directory)
    bench.machine.stored(0, at: GuestPhysical(directory), byteCount: 8)
    bench.machine.invalidate(0, .linearAddress(address))
    _ = bench.machine.access(0, address, .read, .supervisor)
    #expect(bench.read(directory) & 0x60 == 0x20)
    _ = bench.machine.access(0, GuestVirtual(0x20_5000), .write, .supervisor)
    #expect(bench.read(directory) & 0x60 == 0x60)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("a directory that two addresses share with other rights has two shadows")
  func sharedTable() throws {
    let bench = try guest()
    // The second directory entry leads to the same table, read-only.
    bench.write(0x4005, 8, at: 0x3008)
    bench.write(0x40_0067, 8, at: 0x4000)
    let writable = bench.machine.access(0, GuestVirtual(0), .write, .supervisor)
    #expect(Seen(writable) == .memory(0x40_0000))
    let refused = bench.machine.access(0, GuestVirtual(0x20_0000), .write, .supervisor)
    #expect(Seen(refused) == .pageFault(3))
    let read = bench.machine.access(0, GuestVirtual(0x20_0000), .read, .supervisor)
    #expect(Seen(read) == .memory(0x40_0000))
    var shadows = 0
    var id = bench.machine.tables.arena.nextTable(of: GuestFrame(4), after: .none)
    while id != .none {
      shadows += 1
      id = bench.machine.tables.arena.nextTable(of: GuestFrame(4), after: id)
    }
    #expect(shadows == 2)
  }

  @Test("without CR0.WP a supervisor writes to a read-only user page and a user does not")
  func withoutWriteProtection() throws {
    for smep in [false, true] {
      let bench = try guest(wp: false, smep: smep)
      bench.write(0x40_0065, 8, at: 0x4000)
      let (place, user) = (GuestVirtual(0), Privilege.user)
      #expect(Seen(bench.machine.access(0, place, .write, .supervisor)) == .memory(0x40_0000))
      #expect(Seen(bench.machine.access(0, place, .read, user)) == .memory(0x40_0000))
      #expect(Seen(bench.machine.access(0, place, .write, user)) == .pageFault(7))
      #expect(Seen(bench.machine.access(0, place, .write, .supervisor)) == .memory(0x40_0000))
      let fetched = Seen(bench.machine.access(0, place, .fetch, .supervisor))
      #expect(fetched == (smep ? .pageFault(0x11) : .memory(0x40_0000)))
    }
  }

  @Test("a user's page that a supervisor writes with AC set and WP clear stays a user's")
  func withoutWriteProtectionUnderSMAP() throws {
    let bench = try guest(wp: false)
    bench.write(0x40_0065, 8, at: 0x4000)
    let place = GuestVirtual(0)
    var state = bench.machine[registersOf: 0]
    state.cr4 |= 1 << 21
    state.ac = true
    bench.machine[registersOf: 0] = state
    let outcome = bench.machine.access(0, place, .write, .supervisor)
    let own = try #require(outcome.tableStore)
    bench.store(7, 8, own, isTable: true)
    #expect(bench.read(0x4000) & 0x60 == 0x60)
    #expect(Seen(bench.machine.access(0, place, .read, .supervisor)) == .memory(0x40_0000))
    state.ac = false
    bench.machine[registersOf: 0] = state
    for kind in [AccessKind.read, .write] {
      let refused = Seen(bench.machine.access(0, place, kind, .supervisor))
      #expect(refused == .pageFault(kind == .write ? 3 : 1))
    }
    #expect(Seen(bench.machine.access(0, place, .write, .user)) == .pageFault(7))
    #expect(Seen(bench.machine.access(0, place, .read, .user)) == .memory(0x40_0000))
  }

  @Test("a page table that is mapped writable goes out of sync, and is in sync after a flush")
  func unsync() throws {
    let bench = try guest()
    // The second page is the page table itself.
    bench.write(0x40_0067, 8, at: 0x4000)
    bench.write(0x4067, 8, at: 0x4008)
    #expect(
      Seen(bench.machine.access(0, GuestVirtual(0), .read, .supervisor)) == .memory(0x40_0000))
    let outcome = bench.machine.access(0, GuestVirtual(0x1000), .write, .supervisor)
    let own = try #require(outcome.place)
    #expect(bench.machine.statistic(.mmu_unsync) == 1)
    // The guest takes the first page away; the old translation stands until it says so.
    bench.store(0x50_0067, 8, own, isTable: false)
    #expect(
      Seen(bench.machine.access(0, GuestVirtual(0), .read, .supervisor)) == .memory(0x40_0000))
    bench.machine.invalidate(0, .linearAddress(GuestVirtual(0)))
    #expect(
      Seen(bench.machine.access(0, GuestVirtual(0), .read, .supervisor)) == .memory(0x50_0000))
    // INVLPG leaves it out of sync; a reload of CR3 does not.
    #expect(bench.machine.statistic(.mmu_unsync) == 1)
    bench.machine.invalidate(0, .currentSpace)
    #expect(bench.machine.statistic(.mmu_unsync) == 0)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("a store to a directory is the caller's to perform, and drops what it led to")
  func trackedStore() throws {
    let bench = try guest()
    bench.write(0x3067, 8, at: 0x4008)
    bench.write(0x40_0067, 8, at: 0x4000)
    #expect(
      Seen(bench.machine.access(0, GuestVirtual(0), .read, .supervisor)) == .memory(0x40_0000))
    let outcome = bench.machine.access(0, GuestVirtual(0x1000), .write, .supervisor)
    let place = try #require(outcome.tableStore)
    #expect(place.guestPhysical.raw == 0x3000)
    bench.store(0, 8, place, isTable: true)
    // No flush is needed: tables of upper levels are always in step.
    #expect(Seen(bench.machine.access(0, GuestVirtual(0), .read, .supervisor)) == .pageFault(0))
    #expect(bench.machine.statistic(.mmu_pte_write) == 1)
  }

  @Test("the third store to a directory without a walk between zaps its shadow")
  func flooding() throws {
    let bench = try guest()
    bench.write(0x40_0067, 8, at: 0x4000)
    _ = bench.machine.access(0, GuestVirtual(0), .read, .supervisor)
    for count in 1...3 as ClosedRange<Int64> {
      bench.write(0x5007, 8, at: 0x3100)
      bench.machine.stored(0, at: GuestPhysical(0x3100), byteCount: 8)
      #expect(bench.machine.statistic(.mmu_flooded) == (count == 3 ? 1 : 0))
    }
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("a large page of the host is mapped whole where the guest's is, and split by a table in it")
  func largeLeaves() throws {
    let bench = try guest(backing: .page2M)
    bench.write(0x60_00E7, 8, at: 0x3008)
    // And one around the guest's own tables.
    bench.write(0xE7, 8, at: 0x3010)
    _ = bench.machine.access(0, GuestVirtual(0x20_0000), .read, .supervisor)
    #expect(bench.machine.statistic(.pages_2m) == 1)
    _ = bench.machine.access(0, GuestVirtual(0x40_0000), .read, .supervisor)
    #expect(bench.machine.statistic(.pages_2m) == 1)
    #expect(bench.machine.statistic(.pages_4k) > 0)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("the host learns that a page was written when its mapping goes")
  func hostMarks() throws {
    let bench = try guest()
    bench.write(0x40_0067, 8, at: 0x4000)
    let outcome = bench.machine.access(0, GuestVirtual(0), .write, .supervisor)
    let place = try #require(outcome.place)
    let records = bench.machine.process.host.records
    let isDirty = { records.isDirty(place.hostPhysical.frame) }
    #expect(isDirty() == false)
    bench.machine.zapAll()
    #expect(isDirty() == true)
  }

  @Test("a flush of everything reaches the roots that are kept under other PCIDs")
  func keptUnderPCID() throws {
    let bench = try guest()
    // Both spaces use the page table, which maps itself writable in the first.
    for index in [0x1000, 0x6000] as [UInt64] { bench.write(0x2007, 8, at: index) }
    bench.write(0x40_0067, 8, at: 0x4000)
    bench.write(0x4067, 8, at: 0x4008)
    var first = bench.machine[registersOf: 0]
    first.cr4 |= 1 << 17
    first.cr3 = 0x1001
    var second = first
    second.cr3 = 0x6002
    let zero = GuestVirtual(0)
    bench.machine[registersOf: 0] = first
    #expect(Seen(bench.machine.access(0, zero, .read, .supervisor)) == .memory(0x40_0000))
    guard
      case .translated(let own) = bench.machine.access(
        0, GuestVirtual(0x1000), .write, .supervisor)
    else {
      Issue.record("a page table is writable while it is out of sync")
      return
    }
    // To the second space and its PCID, whatever the first keeps.
    bench.machine[registersOf: 0] = second
    #expect(
      Seen(bench.machine.access(0, GuestVirtual(0x2000), .read, .supervisor)) == .pageFault(0))
    bench.store(0x50_0067, 8, own, isTable: false)
    bench.machine.invalidate(0, .allLinear)
    bench.machine[registersOf: 0] = first
    #expect(Seen(bench.machine.access(0, zero, .read, .supervisor)) == .memory(0x50_0000))
  }

  @Test("the limit on shadow pages drives the oldest out and the guest notices nothing")
  func limit() throws {
    var configuration = MachineConfiguration()
    configuration.mmu = .shadow
    configuration.shadowPageLimit = 64
    let bench = try Bench(configuration, slot: 16 << 20, backing: .page4K)
    bench.machine[registersOf: 0] = registers(pae: true, long: true, cr3: 0x1000)
    bench.write(0x2007, 8, at: 0x1000)
    bench.write(0x3007, 8, at: 0x2000)
    for index in 0..<200 as Range<UInt64> {
      bench.write((0x10_0000 + index << 12) | 7, 8, at: 0x3000 + index * 8)
      bench.write(0x40_0067 + index << 12, 8, at: 0x10_0000 + index << 12)
    }
    for round in 0..<2 {
      for index in 0..<200 as Range<UInt64> {
        let seen = Seen(bench.machine.access(0, GuestVirtual(index << 21), .read, .supervisor))
        #expect(seen == .memory(0x40_0000 + index << 12), "round \(round), \(index)")
      }
      #expect(bench.machine.tables.arena.activeCount <= 64)
    }
    #expect(bench.machine.statistic(.mmu_recycled) > 0)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("a machine with shadow paging leaves nothing behind")
  func nothingLeft() throws {
    for special in MachineConfiguration.SpecialRootKind.allCases {
      var world = try GuestWorld(seed: 5, modes: GuestWorld.Mode.allCases, special)
      for _ in 0..<200 { _ = world.step(modes: GuestWorld.Mode.allCases) }
      // The machine's end traps when a table is left.
    }
  }
}
