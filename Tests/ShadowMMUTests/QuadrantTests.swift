import PageTables
import PagingUnits
import Testing
import VirtualMachine
import X86Paging

@testable import ShadowMMU

/// Parts of tables with 4-byte entries, on pages that are there.
@Suite("Quadrants")
struct QuadrantTests {
  private let state = registers(cr3: 0x40_0000)

  /// A 32-bit guest whose directory lies at 0x400000 and has pages of 4 MiB in each quarter.
  private func bench() throws -> RootBench {
    let one = try RootBench(.tables)
    for index in 0..<4 as Range<UInt64> {
      one.bench.write(index << 22 | 0xE7, 4, at: 0x40_0000 + index * 0x400)
    }
    return one
  }

  /// Where an address stands in the guest's tables and in ours.
  struct Example: Sendable {
    var address: UInt64
    var pointer, guestDirectory, directory, guestTable, table: Int
  }

  @Test(
    "an address has the indices of the table of examples in the guest's tables and ours (Q1 to Q4)",
    arguments: [
      Example(
        address: 0, pointer: 0, guestDirectory: 0, directory: 0, guestTable: 0, table: 0),
      Example(
        address: 0x0020_0000, pointer: 0, guestDirectory: 0, directory: 1, guestTable: 0x200,
        table: 0),
      Example(
        address: 0x003F_FFFF, pointer: 0, guestDirectory: 0, directory: 1, guestTable: 0x3FF,
        table: 0x1FF),
      Example(
        address: 0x0040_0000, pointer: 0, guestDirectory: 1, directory: 2, guestTable: 0, table: 0),
      Example(
        address: 0x0060_0000, pointer: 0, guestDirectory: 1, directory: 3, guestTable: 0x200,
        table: 0),
      Example(
        address: 0x3FE0_0000, pointer: 0, guestDirectory: 0xFF, directory: 0x1FF,
        guestTable: 0x200, table: 0),
      Example(
        address: 0x4000_0000, pointer: 1, guestDirectory: 0x100, directory: 0, guestTable: 0,
        table: 0),
      Example(
        address: 0x7FFF_FFFF, pointer: 1, guestDirectory: 0x1FF, directory: 0x1FF,
        guestTable: 0x3FF, table: 0x1FF),
      Example(
        address: 0x8000_0000, pointer: 2, guestDirectory: 0x200, directory: 0, guestTable: 0,
        table: 0),
      Example(
        address: 0x8040_03FF, pointer: 2, guestDirectory: 0x201, directory: 2, guestTable: 0,
        table: 0),
      Example(
        address: 0xBFFF_FFFF, pointer: 2, guestDirectory: 0x2FF, directory: 0x1FF,
        guestTable: 0x3FF, table: 0x1FF),
      Example(
        address: 0xC0A0_1234, pointer: 3, guestDirectory: 0x302, directory: 5, guestTable: 0x201,
        table: 1),
      Example(
        address: 0xFFFF_FFFF, pointer: 3, guestDirectory: 0x3FF, directory: 0x1FF,
        guestTable: 0x3FF, table: 0x1FF),
    ])
  func examples(example: Example) {
    let address = GuestVirtual(example.address)
    #expect(ShadowMMU.index(of: address, at: .page1G) == example.pointer)
    #expect(ShadowMMU.index(of: address, at: .page2M) == example.directory)
    #expect(ShadowMMU.index(of: address, at: .page4K) == example.table)
    // A store to the guest's entry reaches the entries that its addresses have in our tables.
    var role = ProcessorRole(registers(), in: .normal).rootRole
    role.depth = 2
    role.quadrant = ShadowPageRole.quadrant(of: address, at: .page2M)
    #expect(role.quadrant == example.pointer)
    let directory = GuestWrite(offset: example.guestDirectory * 4, count: 4)
    #expect(directory.entries(in: role)?.contains(example.directory) == true)
    role.depth = 1
    role.quadrant = ShadowPageRole.quadrant(of: address, at: .page4K)
    let table = GuestWrite(offset: example.guestTable * 4, count: 4)
    #expect(table.entries(in: role) == example.table..<example.table + 1)
  }

  @Test("for a million addresses the former mask and the present one are the same (Q3, Q7, Q15)")
  func masks() {
    var chance = Chance(11)
    var differing = 0
    for _ in 0..<1_000_000 {
      let address = chance.next() & 0xFFFF_FFFF
      for depth in 1...2 as ClosedRange<UInt64> {
        let former = address >> (12 + 9 * depth) & (1 << ((10 - 9) * depth) - 1)
        let level = depth == 1 ? Level.page4K : .page2M
        if ShadowPageRole.quadrant(of: GuestVirtual(address), at: level) != Int(former) {
          differing += 1
        }
      }
    }
    #expect(differing == 0)
    for index in 0..<4 {
      let address = GuestVirtual(UInt64(index) << 30)
      #expect(ShadowPageRole.quadrant(of: address, at: .page2M) == index)
      #expect(
        ShadowPageRole.quadrant(of: GuestVirtual(address.raw + 0x3FFF_FFFF), at: .page2M) == index)
    }
  }

  @Test("a store to a directory drops two entries of one quarter (Q8)")
  func directoryStore() throws {
    var one = try bench()
    #expect(one.load(state) == .loaded)
    for index in 0..<4 as Range<UInt64> {
      _ = one.fault(index << 30, .read, state)
      _ = one.fault(index << 30 | 0x20_0000, .read, state)
    }
    let quarters = one.rootWords()[..<4].map { one.target($0) }
    store(0, at: 0x40_0400, &one)
    for index in 0..<4 {
      let present = one.words(quarters[index]).filter { $0 & 1 == 1 }.count
      #expect(present == (index == 1 ? 0 : 2))
    }
    one.end()
  }

  @Test("a store to a page table drops one entry of one half (Q9)")
  func tableStore() throws {
    var one = try bench()
    one.bench.write(0x41_0007, 4, at: 0x40_0000)
    for offset in [0, 4, 0x800, 0x804] as [UInt64] {
      one.bench.write(0x67, 4, at: 0x41_0000 + offset)
    }
    #expect(one.load(state) == .loaded)
    for address in [0, 0x1000, 0x20_0000, 0x20_1000] as [UInt64] {
      _ = one.fault(address, .read, state)
    }
    let directory = one.words(one.target(one.rootWords()[0]))
    let halves = [directory[0], directory[1]].map { one.target($0) }
    store(0, at: 0x41_0800, &one)
    #expect(one.words(halves[0])[..<2].allSatisfy { $0 & 1 == 1 })
    #expect(one.words(halves[1])[0] & 1 == 0 && one.words(halves[1])[1] & 1 == 1)
    one.end()
  }

  @Test("tables of 8-byte entries have no parts (Q10)")
  func noParts() {
    for state in [registers(pae: true), registers(pae: true, long: true)] {
      var role = ProcessorRole(state, in: .normal).rootRole
      while role.depth > 1 {
        for index in 0..<512 {
          #expect(role.child(.all, .guestTable, at: index).quadrant == 0)
        }
        role = role.child(.all, .guestTable, at: 511)
      }
    }
  }

  @Test("a directory that is its own page table has six shadows (Q11)")
  func directoryAndTable() throws {
    var one = try bench()
    one.bench.write(0x40_0067, 4, at: 0x40_0000)
    #expect(one.load(state) == .loaded)
    for address in [0, 0x20_0000] as [UInt64] { _ = one.fault(address, .read, state) }
    var found: Set<Int> = []
    var count = 0
    var id = one.tables.arena.nextTable(of: GuestFrame(0x400), after: .none)
    while id != .none {
      let role = one.tables.arena[id].role
      if !role.isDirect {
        found.insert(role.depth << 4 | role.quadrant)
        count += 1
      }
      id = one.tables.arena.nextTable(of: GuestFrame(0x400), after: id)
    }
    #expect(found == [0x20, 0x21, 0x22, 0x23, 0x10, 0x11] && count == 6)
    one.end()
  }

  @Test("a page of 4 MiB has two entries, half a page apart (Q12)")
  func largePage() throws {
    var one = try bench()
    one.bench.write(0x80_00E7, 4, at: 0x40_0004)
    #expect(one.load(state) == .loaded)
    for address in [0x40_0000, 0x60_0000] as [UInt64] {
      #expect(one.fault(address, .read, state) == .fixed)
    }
    let directory = one.words(one.target(one.rootWords()[0]))
    #expect(directory.indices.filter { directory[$0] & 1 == 1 } == [2, 3])
    let halves = [directory[2], directory[3]].map { one.row($0) }
    #expect(halves.map(\.guestFrame.number) == [0x800, 0xA00])
    // Tables without a guest's behind them keep the part, which their frame tells apart anyway.
    #expect(halves.allSatisfy { $0.role.isDirect } && halves.map(\.role.quadrant) == [0, 1])
    one.end()
  }

  @Test("only the half of a page table that is used is shadowed (Q13)")
  func oneHalf() throws {
    var one = try bench()
    one.bench.write(0x41_0007, 4, at: 0x40_0000)
    one.bench.write(0x67, 4, at: 0x41_0800)
    #expect(one.load(state) == .loaded && one.fault(0x20_0000, .read, state) == .fixed)
    let id = one.tables.arena.nextTable(of: GuestFrame(0x410), after: .none)
    #expect(id != .none && one.tables.arena[id].role.quadrant == 1)
    #expect(one.tables.arena.nextTable(of: GuestFrame(0x410), after: id) == .none)
    one.end()
  }

  @Test("a part of a table of 8-byte entries is a mistake of ours (Q14)")
  func partOfWholeTable() async {
    await #expect(processExitsWith: .failure) {
      var one = try RootBench(.tables)
      let state = registers(pae: true, long: true, cr3: 0x40_0000)
      _ = one.load(state)
      var role = one.state.rootRole
      role.depth = 2
      role.quadrant = 1
      var pending = PendingZap()
      _ = one.bench.machine.shadow.page(
        GuestFrame(0x500), role, &one.state, &pending, one.bench.machine.tables,
        one.bench.machine.slots, one.bench.machine.process)
    }
  }

  /// A store of the guest's that the hypervisor performs.
  private func store(_ word: UInt64, at address: UInt64, _ one: inout RootBench) {
    one.bench.write(word, 4, at: address)
    one.bench.machine.shadow.wrote(
      GuestPhysical(address), count: 4, one.state, one.bench.machine.tables,
      one.bench.machine.slots, one.bench.machine.process)
  }
}
