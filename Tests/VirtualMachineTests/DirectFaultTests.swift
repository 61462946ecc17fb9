import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import SparseMemory
import Testing
import VirtualMachine

private let everyMode: [(MachineConfiguration.Vendor, Int)] = [
  (.intel, 4), (.intel, 5), (.amd, 4), (.amd, 5),
]

private func configuration(
  _ mode: (MachineConfiguration.Vendor, Int)
) -> MachineConfiguration {
  var made = MachineConfiguration()
  made.vendor = mode.0
  made.rootLevel = Level(mode.1)
  return made
}

extension AccessOutcome {
  var host: HostPhysical? {
    if case .translated(let translation) = self { translation.hostPhysical } else { nil }
  }
  var level: Level? {
    if case .translated(let translation) = self { translation.level } else { nil }
  }
  var device: GuestPhysical? {
    if case .device(let address) = self { address } else { nil }
  }
}

@Suite("Direct faults")
struct DirectFaultTests {
  @Test("an access reaches the very byte that the host process has", arguments: everyMode)
  func reachesTheByte(mode: (MachineConfiguration.Vendor, Int)) throws {
    let bench = try Bench(configuration(mode))
    bench.write([0x1122_3344_5566_7788], at: 0x5008)
    let outcome = bench.machine.access(0, GuestPhysical(0x5008), .read)
    let place = try #require(outcome.host)
    #expect(bench.buffers.memory.entry(at: place) == 0x1122_3344_5566_7788)
    #expect(bench.machine.statistic(.pf_fixed, of: 0) == 1)
  }

  @Test("a second access needs no fault", arguments: everyMode)
  func secondAccess(mode: (MachineConfiguration.Vendor, Int)) throws {
    let bench = try Bench(configuration(mode))
    for _ in 0..<3 { _ = bench.machine.access(0, GuestPhysical(0x5000), .write) }
    #expect(bench.machine.statistic(.pf_taken, of: 0) == 1)
  }

  @Test("the page size is the smallest that slot, host and configuration permit")
  func pageSizes() throws {
    for backing in [Level.page4K, .page2M, .page1G] {
      for largest in [Level.page4K, .page2M, .page1G] {
        var made = MachineConfiguration()
        made.largestPage = largest
        let bench = try Bench(made, slot: 2 << 30, backing: backing)
        let outcome = bench.machine.access(0, GuestPhysical(0x4000_0000), .write)
        #expect(outcome.level == min(backing, largest))
      }
    }
  }

  @Test("an address without a slot is a device's, remembered in one entry")
  func devices() throws {
    for mode in everyMode {
      let bench = try Bench(configuration(mode))
      let address = GuestPhysical(0xFEE0_0030)
      #expect(bench.machine.access(0, address, .read).device == address)
      #expect(bench.machine.statistic(.pf_mmio_spte_created, of: 0) == 1)
      let taken = bench.machine.statistic(.pf_taken, of: 0)
      #expect(bench.machine.access(0, address, .write).device == address)
      #expect(bench.machine.statistic(.pf_taken, of: 0) == taken, "the entry was recognized")
    }
  }

  @Test("a slot created over a device's address is seen at once")
  func slotOverDevice() throws {
    let bench = try Bench()
    let address = GuestPhysical(0x1_0000_0000)
    #expect(bench.machine.access(0, address, .read).device == address)
    let base = try bench.machine.process.add(
      HostRegionRequest(byteCount: 4096, backing: .anonymous(largestPage: .page4K)))
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), guestAddress: address, byteCount: 4096, hostAddress: base))
    #expect(bench.machine.access(0, address, .read).host != nil)
  }

  @Test("a write to a read-only slot is the VMM's, and reads go through")
  func readOnlySlot() throws {
    let bench = try Bench()
    let address = GuestPhysical(0x2_0000_0000)
    let base = try bench.machine.process.add(
      HostRegionRequest(byteCount: 4096, backing: .anonymous(largestPage: .page4K)))
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), flags: .readOnly, guestAddress: address, byteCount: 4096,
        hostAddress: base))
    #expect(bench.machine.access(0, address, .read).host != nil)
    #expect(bench.machine.access(0, address, .write).device == address)
  }

  @Test("a read of a read-only slot does not let a write through that the host would permit")
  func readOnlySlotOverWritablePage() throws {
    let bench = try Bench()
    let address = GuestPhysical(0x2_0000_0000)
    let base = try bench.machine.process.add(
      HostRegionRequest(byteCount: 4096, backing: .anonymous(largestPage: .page4K)))
    _ = bench.machine.process.lookUp(base, for: .write, telling: Unnotified())
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), flags: .readOnly, guestAddress: address, byteCount: 4096,
        hostAddress: base))
    #expect(bench.machine.access(0, address, .read).host != nil)
    #expect(bench.machine.access(0, address, .write).device == address)
  }

  @Test("a slot whose host address maps nothing fails and says where")
  func noBacking() throws {
    let bench = try Bench()
    let address = GuestPhysical(0x3_0000_0000)
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), guestAddress: address, byteCount: 4096,
        hostAddress: HostVirtual(0x7000_0000_0000)))
    guard case .failed(.badAddress, address) = bench.machine.access(0, address, .read) else {
      Issue.record("the access found memory where there is none")
      return
    }
  }

  @Test("a deleted slot's memory is gone for every processor, and the tables with it")
  func deletedSlot() throws {
    var made = MachineConfiguration()
    made.processors = 2
    let bench = try Bench(made)
    for processor in 0..<2 {
      #expect(bench.machine.access(processor, GuestPhysical(0x3000), .write).host != nil)
    }
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: 0, hostAddress: bench.base))
    for processor in 0..<2 {
      let outcome = bench.machine.access(processor, GuestPhysical(0x3000), .read)
      #expect(outcome.device == GuestPhysical(0x3000))
    }
    #expect(bench.machine.statistic(.pages_4k) == 0)
  }

  @Test("a page that the host takes away comes back as another, after a fault")
  func hostUnmap() throws {
    for mode in everyMode {
      let bench = try Bench(configuration(mode))
      bench.write([7], at: 0x9000)
      #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
      let page = (bench.base + 0x9000)..<(bench.base + 0xA000)
      #expect(bench.machine.unmapHost(page) == .done)
      #expect(bench.machine.statistic(.pages_4k) == 0)
      let place = try #require(bench.machine.access(0, GuestPhysical(0x9000), .read).host)
      #expect(bench.buffers.memory.entry(at: place) == 0)
    }
  }

  @Test("a page that the host moves is followed, content and all")
  func hostMigrate() throws {
    let bench = try Bench()
    bench.write([0xABCD], at: 0x9000)
    let before = try #require(bench.machine.access(0, GuestPhysical(0x9000), .write).host)
    #expect(bench.machine.migrateHost(bench.base + 0x9000) == .done)
    let after = try #require(bench.machine.access(0, GuestPhysical(0x9000), .read).host)
    #expect(before != after)
    #expect(bench.buffers.memory.entry(at: after) == 0xABCD)
  }

  @Test("a page that the host makes read-only is written through the VMM until it is not")
  func hostProtect() throws {
    let bench = try Bench()
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
    let page = (bench.base + 0x9000)..<(bench.base + 0xA000)
    try bench.machine.protectHost(page, as: .readOnly)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host != nil)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host == nil)
    try bench.machine.protectHost(page, as: .readWrite)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
  }

  @Test("untouched memory is read through one page of zeros and written through its own")
  func zeroPage() throws {
    let bench = try Bench()
    let first = try #require(bench.machine.access(0, GuestPhysical(0x1000), .read).host)
    let second = try #require(bench.machine.access(0, GuestPhysical(0x2000), .read).host)
    #expect(first.frame == second.frame)
    let own = try #require(bench.machine.access(0, GuestPhysical(0x1000), .write).host)
    #expect(own.frame != second.frame)
    let read = try #require(bench.machine.access(0, GuestPhysical(0x1000), .read).host)
    #expect(read == own, "the read-only entry was replaced everywhere")
  }

  @Test("without accessed bits, an aged page comes back through the fast fault")
  func accessTracking() throws {
    var made = MachineConfiguration()
    made.accessedDirty = .absent
    let bench = try Bench(made)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
    let page = (bench.base + 0x9000)..<(bench.base + 0xA000)
    #expect(bench.machine.testYoung(page.lowerBound) == true)
    #expect(bench.machine.clearFlushYoung(page) == true)
    #expect(bench.machine.testYoung(page.lowerBound) == false)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host != nil)
    #expect(bench.machine.statistic(.pf_fast, of: 0) == 1)
    #expect(bench.machine.testYoung(page.lowerBound) == true)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
    #expect(bench.machine.statistic(.pf_fast, of: 0) == 2)
  }

  @Test("with accessed bits, an aged page becomes young again without a fault")
  func accessedBits() throws {
    for mode in everyMode {
      let bench = try Bench(configuration(mode))
      #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
      let page = (bench.base + 0x9000)..<(bench.base + 0xA000)
      #expect(bench.machine.clearFlushYoung(page) == true)
      #expect(bench.machine.clearFlushYoung(page) == false)
      let taken = bench.machine.statistic(.pf_taken, of: 0)
      #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host != nil)
      #expect(bench.machine.statistic(.pf_taken, of: 0) == taken)
      #expect(bench.machine.testYoung(page.lowerBound) == true)
    }
  }

  @Test("a fault maps the neighbours that the host already has, once")
  func prefetch() throws {
    let bench = try Bench()
    for page in UInt64(8)..<16 { bench.write([page], at: page << 12) }
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
    #expect(bench.machine.statistic(.pages_4k) == 8)
    for page in UInt64(8)..<16 {
      #expect(bench.machine.access(0, GuestPhysical(page << 12), .write).host != nil)
    }
    #expect(bench.machine.statistic(.pf_taken, of: 0) == 1)
    var made = MachineConfiguration()
    made.prefetch = .absent
    let alone = try Bench(made)
    for page in UInt64(8)..<16 { alone.write([page], at: page << 12) }
    #expect(alone.machine.access(0, GuestPhysical(0x9000), .write).host != nil)
    #expect(alone.machine.statistic(.pages_4k) == 1)
  }

  @Test("every nth refused table is reported and nothing leaks", arguments: 1...24)
  func refusedTables(nth: Int) throws {
    let bench = try Bench()
    bench.machine.process.host.refuse(.every(UInt64(nth)))
    for page in UInt64(0)..<32 {
      let outcome = bench.machine.access(0, GuestPhysical(page << 21), .write)
      if case .failed(let reason, _) = outcome { #expect(reason == .noMemory) }
    }
    bench.machine.process.host.refuse(.never)
    for page in UInt64(0)..<32 {
      #expect(bench.machine.access(0, GuestPhysical(page << 21), .write).host != nil)
    }
  }

  @Test("processors of one address space share one root")
  func sharedRoot() throws {
    var made = MachineConfiguration()
    made.processors = 3
    let bench = try Bench(made)
    for processor in 0..<3 {
      #expect(bench.machine.access(processor, GuestPhysical(0x3000), .write).host != nil)
    }
    #expect(bench.machine.tables.arena.activeCount == 1)
    #expect(bench.machine.statistic(.pf_taken, of: 1) == 0)
  }
}
