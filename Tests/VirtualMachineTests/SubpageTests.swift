import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import SubpageProtection
import Testing
import VirtualMachine

/// What scenarios cannot say of sub-page protection.
@Suite("Sub-page protection")
struct SubpageTests {
  private static func configuration(_ processors: Int = 1) -> MachineConfiguration {
    var configuration = MachineConfiguration()
    configuration.subpages = .present
    configuration.processors = processors
    return configuration
  }

  private static let page = GuestFrame(5)

  private func write(
    _ bench: borrowing Bench, _ address: UInt64, _ count: UInt64 = 1, on processor: Int = 0
  ) -> AccessOutcome {
    bench.machine.access(
      processor, GuestVirtual(address), .write, .supervisor, byteCount: count)
  }

  // K1
  @Test("one call may name 512 pages") func limit() {
    #expect(SubpageProtection.pageLimit == 512)
  }

  @Test("of every pair of sub-pages a write touches, both must be open")
  func everyPair() throws {
    let bench = try Bench(Self.configuration())
    try bench.machine.enableSubpageProtection()
    for first in 0..<31 {
      for bits in [0b00, 0b01, 0b10, 0b11] as [UInt32] {
        let access = SubpageAccess(rawValue: bits << UInt32(first))
        try bench.machine.setSubpageAccess([access], from: Self.page)
        let edge = Self.page.address.raw + UInt64(first + 1) * 128
        for (address, count, needed) in [
          (edge - 1, 1, 0b01), (edge, 1, 0b10), (edge - 4, 8, 0b11), (edge - 128, 256, 0b11),
        ] as [(UInt64, UInt64, UInt32)] {
          let outcome = write(bench, address, count)
          let isPermitted = bits & needed == needed
          switch outcome {
          case .translated: #expect(isPermitted, "\(first) \(bits) \(count)")
          case .subpageRefused(let place):
            #expect(!isPermitted && place.guestPhysical.raw == address)
          default: Issue.record("\(outcome)")
          }
        }
      }
    }
    let violation = MachineInspection.violation(in: bench.machine)
    #expect(violation == nil)
  }

  // K26
  @Test("malformed permissions leave the guest as such and change no table", arguments: [1, 63])
  func malformed(bit: UInt64) throws {
    let bench = try Bench(Self.configuration())
    try bench.machine.enableSubpageProtection()
    try bench.machine.setSubpageAccess([SubpageAccess(rawValue: 1)], from: Self.page)
    _ = write(bench, 0x5000)
    guard let place = vectorPlace(bench) else {
      Issue.record("the write that is permitted filled no table")
      return
    }
    let memory = bench.machine.tables.memory
    let spoilt = memory.entry(at: place) | 1 << bit
    memory.setEntry(spoilt, at: place)
    bench.machine.invalidate(0, .everything)
    guard case .subpageMisconfiguration(let address) = write(bench, 0x5000) else {
      Issue.record("a malformed vector was taken for another")
      return
    }
    #expect(address == GuestPhysical(0x5000))
    let left = memory.entry(at: place)
    #expect(left == spoilt)
    memory.setEntry(1, at: place)
  }

  // K14, K15
  @Test("a change sets a block's table aside, and one exit brings it back with all of its pages")
  func setAside() throws {
    let bench = try Bench(Self.configuration())
    let memory = bench.machine.tables.memory
    try bench.machine.enableSubpageProtection()
    let both = [1, 2].map { SubpageAccess(rawValue: $0) }
    try bench.machine.setSubpageAccess(both, from: Self.page)
    _ = write(bench, 0x5000)
    guard let place = vectorPlace(bench) else {
      Issue.record("the write that is permitted filled no table")
      return
    }
    #expect([place, place + 8].map { memory.entry(at: $0) } == [0x1, 0x4])
    // The neighbour's first access maps it; no miss comes after that.
    let first = [exits(bench, 0x6080), exits(bench, 0x6080)]
    #expect(first == [1, 0])

    try bench.machine.setSubpageAccess([SubpageAccess(rawValue: 4)], from: Self.page + 1)
    let aside = blockEntry(bench)
    #expect(aside.frame == place.frame && aside.hasTable && !aside.isValid)
    let second = [exits(bench, 0x6100), exits(bench, 0x6100)]
    #expect(second == [1, 0])
    let back = blockEntry(bench)
    #expect(back.frame == place.frame && back.isValid)
    #expect([place, place + 8].map { memory.entry(at: $0) } == [0x1, 0x10])
  }

  /// How often a write leaves the guest.
  private func exits(_ bench: borrowing Bench, _ address: UInt64) -> Int64 {
    let before = bench.machine.statistic(.exits, of: 0)
    _ = write(bench, address)
    return bench.machine.statistic(.exits, of: 0) - before
  }

  /// The entry of the 2 MiB that hold the page.
  private func blockEntry(_ bench: borrowing Bench) -> SubpageEntry {
    let root = bench.machine.subpageRoot(of: 0)
    var table = bench.machine.tables.arena[root].frame
    for level in [Level.level4, .page1G] {
      table = bench.machine.tables.subpageEntry(table, level, of: Self.page).frame
    }
    return bench.machine.tables.subpageEntry(table, .page2M, of: Self.page)
  }

  /// Where the permissions of the page lie.
  private func vectorPlace(_ bench: borrowing Bench) -> HostPhysical? {
    let root = bench.machine.subpageRoot(of: 0)
    guard root != .none else { return nil }
    var table = bench.machine.tables.arena[root].frame
    for level in [Level.level4, .page1G, .page2M] {
      let entry = bench.machine.tables.subpageEntry(table, level, of: Self.page)
      guard entry.isValid else { return nil }
      table = entry.frame
    }
    return table.address + Self.page.number * 8
  }

  // K27
  @Test("an IRET that an event stops has NMIs blocked again") func nonMaskable() throws {
    let bench = try Bench(Self.configuration())
    try bench.machine.enableSubpageProtection()
    try bench.machine.setSubpageAccess([SubpageAccess(rawValue: 1)], from: Self.page)
    for context in [[], .unblocksNMI, [.unblocksNMI, .deliversEvent]] as [InstructionContext] {
      // Each change has the next write miss.
      try bench.machine.setSubpageAccess([.none], from: Self.page)
      bench.machine.setInstructionContext(context, of: 0)
      _ = write(bench, 0x5000)
      let blocks = [bench.machine.takeNMIBlocking(of: 0), bench.machine.takeNMIBlocking(of: 0)]
      #expect(blocks == [context == .unblocksNMI, false])
    }
  }

  @Test("the root is referenced once a processor and once by the machine")
  func references() throws {
    let bench = try Bench(Self.configuration(3))
    for number in 0..<3 { _ = write(bench, 0x5000, on: number) }
    let before = bench.machine.subpageRoot(of: 0)
    #expect(before == .none)
    try bench.machine.enableSubpageProtection()
    for number in 0..<3 {
      _ = write(bench, 0x5000, on: number)
      let (root, first) = (bench.machine.subpageRoot(of: number), bench.machine.subpageRoot(of: 0))
      let references = bench.machine.tables.arena[root].rootReferences
      #expect(root == first && references == UInt32(number + 2))
    }
    bench.machine.zapAll()
    for number in 0..<3 { _ = write(bench, 0x5000, on: number) }
    let root = bench.machine.subpageRoot(of: 0)
    let references = bench.machine.tables.arena[root].rootReferences
    #expect(references == 4)
    let violation = MachineInspection.violation(in: bench.machine)
    #expect(violation == nil)
  }

  @Test("protecting a page costs other pages of its slot nothing but their large page")
  func neighbours() throws {
    let bench = try Bench(Self.configuration(), backing: .page2M)
    try bench.machine.enableSubpageProtection()
    try bench.machine.setSubpageAccess([.none], from: Self.page)
    for page in 0..<512 where page != 5 {
      guard case .translated = write(bench, UInt64(page) << 12, 8) else {
        Issue.record("page \(page)")
        return
      }
    }
    guard case .translated(let large) = write(bench, 0x20_0000) else {
      Issue.record("the next block is not reached")
      return
    }
    let largePages = bench.machine.statistic(.pages_2m)
    #expect(largePages == 1 && large.usable.contains(.write))
  }

  @Test("a range of 512 pages over two blocks is set and got page by page")
  func ranges() throws {
    let bench = try Bench(Self.configuration())
    try bench.machine.enableSubpageProtection()
    let access = (0..<512).map { SubpageAccess(rawValue: UInt32($0) &* 0x9E37_79B9 | 1) }
    for _ in 0..<2 {
      let count = try bench.machine.setSubpageAccess(access, from: GuestFrame(300))
      #expect(count == 512)
      let got = try bench.machine.subpageAccess(of: GuestFrame(300)..<GuestFrame(812))
      #expect(got == access)
      for page in [0, 1, 211, 212, 213, 511] {
        let start = UInt64(300 + page) << 12
        for subpage in 0..<32 {
          let outcome = write(bench, start + UInt64(subpage) * 128 + 127)
          if case .translated = outcome {
            #expect(access[page][subpage])
          } else {
            #expect(!access[page][subpage])
          }
        }
      }
    }
    let violation = MachineInspection.violation(in: bench.machine)
    #expect(violation == nil)
  }
}
