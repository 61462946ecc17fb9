import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine

@testable import ShadowMMU

/// A guest whose root is at 0x1000.
private func guest(
  slot: UInt64 = 16 << 20, _ change: (inout MachineConfiguration) -> Void = { _ in }
) throws -> Bench {
  var configuration = MachineConfiguration()
  configuration.mmu = .shadow
  configuration.prefetch = .absent
  change(&configuration)
  let bench = try Bench(configuration, slot: slot, backing: .page4K)
  bench.machine[registersOf: 0] = registers(pae: true, long: true, cr3: 0x1000)
  return bench
}

@Suite("What a hostile guest can make the MMU do")
struct HostileGuestTests {
  @Test("a guest that has tables made and dropped for ever holds no more of them than its share")
  func churn() throws {
    let bench = try guest { $0.shadowPageLimit = 64 }
    bench.write(0x2007, 8, at: 0x1000)
    bench.write(0x3007, 8, at: 0x2000)
    for index in 0..<200 as Range<UInt64> {
      bench.write((0x10_0000 + index << 12) | 7, 8, at: 0x3000 + index * 8)
      bench.write(0x40_0067 + index << 12, 8, at: 0x10_0000 + index << 12)
    }
    for _ in 0..<10 {
      for index in 0..<200 as Range<UInt64> {
        _ = bench.machine.access(0, GuestVirtual(index << 21), .read, .supervisor)
      }
    }
    #expect(bench.machine.statistic(.mmu_recycled) > 1000)
    // What is live, what the processor has set aside, and what went a moment ago.
    #expect(bench.machine.tables.arena.tableCount <= 64 + TableCache.capacity + 25)
  }

  @Test("a guest that rewrites its directory for ever holds no more tables than it uses")
  func rewriting() throws {
    let bench = try guest()
    bench.write(0x2007, 8, at: 0x1000)
    bench.write(0x3007, 8, at: 0x2000)
    bench.write(0x4007, 8, at: 0x3000)
    bench.write(0x5067, 8, at: 0x4000)
    for _ in 0..<1000 {
      _ = bench.machine.access(0, GuestVirtual(0), .read, .supervisor)
      for _ in 0..<3 { bench.machine.stored(0, at: GuestPhysical(0x3000), byteCount: 8) }
    }
    #expect(bench.machine.statistic(.mmu_flooded) == 1000)
    #expect(bench.machine.tables.arena.tableCount < 40)
  }

  @Test("a frame that a guest maps everywhere is mapped a thousand times at most")
  func oneFrameEverywhere() throws {
    let bench = try guest { $0.shadowPageLimit = 64 }
    bench.write(0x2007, 8, at: 0x1000)
    bench.write(0x3007, 8, at: 0x2000)
    for table in 0..<4 as Range<UInt64> {
      bench.write((0x1_0000 + table << 12) | 7, 8, at: 0x3000 + table * 8)
      for entry in 0..<512 as Range<UInt64> {
        bench.write(0x40_0067, 8, at: (0x1_0000 + table << 12) + entry * 8)
      }
    }
    for page in 0..<2048 as Range<UInt64> {
      let seen = Seen(bench.machine.access(0, GuestVirtual(page << 12), .write, .supervisor))
      #expect(seen == .memory(0x40_0000))
    }
    #expect(bench.machine.statistic(.max_mmu_rmap_size) == 1001)
    // All went with the thousand and first, which came again at once, and so did the next thousand.
    #expect(bench.machine.statistic(.pages_4k) == 2048 - 2 * 1000)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test("a table whose entries all lead to itself has a shadow for each level and no more")
  func selfReference() throws {
    let bench = try guest()
    for entry in 0..<512 as Range<UInt64> { bench.write(0x1067, 8, at: 0x1000 + entry * 8) }
    for index in 0..<256 as Range<UInt64> {
      let address = GuestVirtual(index << 39 | index << 30 | index << 21 | index << 12)
      let read = bench.machine.access(0, address, .read, .supervisor)
      #expect(Seen(read) == .memory(0x1000))
      guard case .tableStore = bench.machine.access(0, address, .write, .supervisor) else {
        Issue.record("a store to the table is performed by the caller")
        return
      }
    }
    #expect(bench.machine.tables.arena.activeCount == 4)
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }

  @Test(
    "frames that are beyond memory, or beyond what can be addressed, end as the manual says",
    arguments: [36, 46, 52])
  func farFrames(bits: Int) throws {
    let bench = try guest { configuration in
      configuration.physicalBits = bits
      configuration.guestPhysicalBits = bits
    }
    bench.write(0x2007, 8, at: 0x1000)
    bench.write(0x3007, 8, at: 0x2000)
    bench.write(0x4007, 8, at: 0x3000)
    let highest = (1 << UInt64(bits)) - 0x1000 as UInt64
    // As a page it is a device; as a table of any level nothing is there.
    bench.write(highest | 0x67, 8, at: 0x4000)
    bench.write(highest | 0x67, 8, at: 0x3008)
    bench.write(highest | 0x67, 8, at: 0x2008)
    bench.write(highest | 0x67, 8, at: 0x1008)
    for _ in 0..<2 {
      let device = bench.machine.access(0, GuestVirtual(0x123), .write, .supervisor)
      #expect(Seen(device) == .device(highest | 0x123))
      for shift in [21, 30, 39] as [UInt64] {
        let absent = bench.machine.access(0, GuestVirtual(1 << shift), .read, .supervisor)
        #expect(Seen(absent) == .pageFault(0))
      }
    }
    guard bits < 52 else { return }
    // One bit more is reserved.
    bench.write((highest + 0x1000) | 0x67, 8, at: 0x4008)
    let reserved = bench.machine.access(0, GuestVirtual(0x1000), .read, .supervisor)
    #expect(Seen(reserved) == .pageFault(9))
    #expect(ShadowTables.violation(in: bench.machine) == nil)
  }
}
