import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine
import X86Paging

@testable import ShadowMMU

/// A row of the table of all roots: a guest's mode, its hypervisor's tables, and what follows.
struct RootRow: CustomStringConvertible, Sendable {
  var number: Int
  var registers: ControlRegisters
  /// The levels of the tables that shadow the guest's nested page tables; `nil` for its own.
  var levels: Level?
  /// The depth of the guest's tables and of the root.
  var depths: (guest: Int, root: Int)
  var isGuestMode = false
  var isSpecial = true
  var isPassthrough = false

  var description: String { "row \(number)\(isGuestMode ? ", a guest's guest" : "")" }

  /// Rows 1 to 5: a guest's own tables; row 25: those of its guest, in the same modes.
  static let own: [RootRow] = [false, true].flatMap { isGuestMode in
    [
      (1, registers(paging: false), (0, 3)), (2, short, (2, 3)), (3, pae, (3, 3)),
      (4, long(4), (4, 4)), (5, long(5), (5, 5)),
    ].map {
      RootRow(
        number: $0.0, registers: $0.1, levels: nil, depths: $0.2, isGuestMode: isGuestMode,
        isSpecial: $0.2.1 == 3)
    }
  }

  /// Rows 12 to 20 and, for extended page tables that are as deep as the guest's, 22 and 23.
  static let nested: [RootRow] = [
    RootRow(number: 12, registers: short, levels: .page1G, depths: (2, 3)),
    RootRow(number: 13, registers: pae, levels: .page1G, depths: (3, 3)),
    RootRow(number: 14, registers: short, levels: .level4, depths: (2, 4)),
    RootRow(number: 15, registers: pae, levels: .level4, depths: (3, 4)),
    RootRow(number: 16, registers: short, levels: .level5, depths: (2, 5)),
    RootRow(number: 17, registers: pae, levels: .level5, depths: (3, 5)),
    RootRow(number: 18, registers: long(4), levels: .level4, depths: (4, 4), isSpecial: false),
    RootRow(
      number: 19, registers: long(4), levels: .level5, depths: (4, 5), isSpecial: false,
      isPassthrough: true),
    RootRow(number: 20, registers: long(5), levels: .level5, depths: (5, 5), isSpecial: false),
    RootRow(number: 22, registers: long(4), levels: .level4, depths: (4, 4), isSpecial: false),
    RootRow(number: 23, registers: long(5), levels: .level5, depths: (5, 5), isSpecial: false),
  ]

  private static let short = ShadowMMUTests.registers(cr3: 0x40_0000)
  private static let pae: ControlRegisters = {
    var state = ShadowMMUTests.registers(pae: true, cr3: 0x1000)
    state.pdptes = [0x20_0001, 0x30_0001, 0, 0x21_0001]
    return state
  }()

  private static func long(_ depth: Int) -> ControlRegisters {
    ShadowMMUTests.registers(pae: true, long: true, la57: depth == 5, cr3: 0x40_0000)
  }

  private static func registers(paging: Bool) -> ControlRegisters {
    ShadowMMUTests.registers(paging: paging)
  }

  /// The frame that the page of level 2 of one GiB shadows, and its quadrant; `nil` where the guest
  /// has none.
  func child(_ index: Int) -> (frame: UInt64, quadrant: Int)? {
    switch depths.guest {
    case 0: return (UInt64(index) << 18, 0)
    case 2: return (0x400, index)
    default:
      let pointer = registers.pdptes[index]
      return pointer & 1 == 0 ? nil : (pointer >> 12, 0)
    }
  }

  /// Loads the root, and uses each GiB that the guest has.
  func load(_ one: inout RootBench) {
    for index in 0..<4 as Range<UInt64> {
      // The first entry of each quarter of a directory of 1024, and of each of 512.
      one.bench.write(index << 22 | 0xE7, 4, at: 0x40_0000 + index * 0x400)
    }
    for table in [0x20_0000, 0x30_0000, 0x21_0000] as [UInt64] {
      one.bench.write(0xE7, 8, at: table)
    }
    if let levels {
      #expect(one.loadNested(registers, levels: levels) == .loaded)
    } else if isGuestMode {
      var role = ProcessorRole(registers, in: .normal)
      role.base.isGuestMode = true
      one.bench.machine.shadow.take(
        role, role.rootRole, WalkRules(registers, features: PagingFeatures()), &one.state)
      #expect(one.loadRoot(registers) == .loaded)
    } else {
      #expect(one.load(registers) == .loaded)
    }
    guard isSpecial else { return }
    for index in 0..<4 where child(index) != nil {
      let outcome = one.fault(UInt64(index) << 30, .read, registers)
      // Without paging, what lies behind the memslot is a device's.
      let isDevice = outcome == .emulate(GuestPhysical(UInt64(index) << 30)) && depths.guest == 0
      #expect(outcome == .fixed || outcome == .spurious || isDevice, "\(self), GiB \(index)")
    }
  }
}

@Suite("The table of all roots")
struct RootMatrixTests {
  typealias Design = MachineConfiguration.SpecialRootKind

  @Test(
    "each row has its roles, its tables and its pages (5.7; R17, R23, R24, R34)",
    arguments: RootRow.own + RootRow.nested, Design.allCases)
  func row(row: RootRow, design: Design) throws {
    var one = try RootBench(design)
    row.load(&one)
    let (guest, root) = (one.state.guestDepth, one.state.rootRole)
    #expect(guest == row.depths.guest && root.depth == row.depths.root)
    #expect(root.isDirect == (guest == 0) && root.hasShortEntries == (guest == 2))
    #expect(root.isPassthrough == row.isPassthrough)
    #expect(root.isGuestMode == (row.isGuestMode || row.levels != nil))
    #expect(root.isSpecialRoot(overDepth: guest) == row.isSpecial)
    let special = one.state.special
    let areBare = row.isSpecial && design == .tables
    #expect((special.pae != nil) == areBare)
    #expect((special.level4 != nil) == (areBare && row.depths.root >= 4))
    #expect((special.level5 != nil) == (areBare && row.depths.root == 5))
    switch one.state.root {
    case .page(let id):
      #expect(!row.isSpecial && one.tables.arena[id].role.depth == row.depths.root)
      #expect(one.tables.arena[id].guestFrame.number == 0x400 && !one.tables.shadow[id].isLocal)
    case .tables: #expect(areBare)
    case .local(let id):
      #expect(row.isSpecial && design == .localPages)
      #expect(one.tables.shadow[id].isLocal && one.tables.arena[id].guestFrame.number == 0)
    case .none, .dummy: Issue.record("\(one.state.root)")
    }
    if row.isSpecial { try children(of: row, design, &one) }
    one.end()
  }

  /// Walks down to the PDPTEs, and looks at each.
  private func children(of row: RootRow, _ design: Design, _ one: inout RootBench) throws {
    var words = one.rootWords()
    for _ in 3..<row.depths.root {
      // Upper entries are those of long mode, and only the first is used.
      #expect(words[0] & 0x27 == 0x27 && words[1...].allSatisfy { $0 & 1 == 0 })
      if design == .localPages { #expect(one.tables.shadow[one.id(words[0])].isLocal) }
      words = one.words(one.target(words[0]))
    }
    for index in 0..<4 {
      guard let meant = row.child(index) else {
        #expect(words[index] & 1 == 0)
        continue
      }
      let child = one.row(words[index])
      #expect(child.guestFrame.number == meant.frame && child.role.quadrant == meant.quadrant)
      #expect(child.role.depth == 2 && !child.role.isPassthrough)
      // PDPTEs of PAE paging have no rights; entries that long mode walks have all.
      #expect(words[index] & 0x26 == (row.depths.root == 3 ? 0 : 0x26))
      // A bare table holds references, a local page is a parent.
      #expect((child.rootReferences > 0) == (design == .tables))
    }
    #expect(words[4...].allSatisfy { $0 & 1 == 0 })
    // Neither is a special table listed, nor is one found by a frame.
    var listed = 0
    var id = one.tables.arena.nextActive(after: .none)
    while id != .none {
      #expect(!one.tables.shadow[id].isLocal && one.tables.arena[id].role.depth < 3)
      listed += 1
      id = one.tables.arena.nextActive(after: id)
    }
    #expect(listed == one.tables.arena.activeCount)
    id = one.tables.arena.nextTable(of: GuestFrame(0), after: .none)
    while id != .none {
      #expect(one.tables.arena[id].role.depth < 3)
      id = one.tables.arena.nextTable(of: GuestFrame(0), after: id)
    }
  }

  @Test("a root is kept when another CR3 comes, unless it is special", arguments: RootRow.own)
  func kept(row: RootRow) throws {
    guard row.depths.guest != 0, !row.isGuestMode else { return }
    var one = try RootBench(.tables)
    row.load(&one)
    var other = row.registers
    other.cr3 += 0x1000
    other.pdptes[0] = 0x30_0001
    one.adopt(other)
    #expect((one.state.kept[0].page != .none) == !row.isSpecial)
    one.end()
  }

  @Test(
    "a request to free obsolete roots frees bare tables always, and others when they are (R27)",
    arguments: RootRow.own, Design.allCases)
  func obsoleteRequest(row: RootRow, design: Design) throws {
    var one = try RootBench(design)
    row.load(&one)
    one.free(.obsolete)
    #expect((one.state.root == .none) == (row.isSpecial && design == .tables))
    one.end()
  }

  @Test(
    "page tables out of sync below every PDPTE are brought up to date by a flush (R32)",
    arguments: Design.allCases)
  func unsyncBelowSpecialRoot(design: Design) throws {
    var one = try RootBench(design)
    let state = registers(cr3: 0x40_0000)
    for index in 0..<4 as Range<UInt64> {
      one.bench.write(0x41_0007 + index << 12, 4, at: 0x40_0000 + index * 0x400)
      one.bench.write(0x67, 4, at: 0x41_0000 + index << 12)
    }
    #expect(one.load(state) == .loaded)
    for index in 0..<4 as Range<UInt64> {
      #expect(one.fault(index << 30, .read, state) == .fixed)
      let id = one.tables.arena.nextTable(of: GuestFrame(0x410 + index), after: .none)
      one.tables.setUnsync(id, one.bench.machine.process.host)
    }
    #expect(one.bench.machine.statistic(.mmu_unsync) == 4)
    one.bench.machine.shadow.flush(
      .everything, &one.state, one.bench.machine.tables, one.bench.machine.slots,
      one.bench.machine.process)
    #expect(one.bench.machine.statistic(.mmu_unsync) == 0)
    one.end()
  }

  @Test(
    "a PDPTE that changes in memory under a nested root changes no other one's page (R36)",
    arguments: Design.allCases)
  func pointerInMemory(design: Design) throws {
    let row = RootRow.nested[3]
    var one = try RootBench(design)
    one.bench.write(0x20_0001, 8, at: 0x1000)
    one.bench.write(0x30_0001, 8, at: 0x1008)
    row.load(&one)
    one.bench.write(0x21_0001, 8, at: 0x1008)
    _ = one.fault(1 << 30, .read, row.registers)
    let words = one.words(one.target(one.rootWords()[0]))
    #expect(one.row(words[0]).guestFrame.number == 0x200)
    #expect([0x300, 0x210].contains(one.row(words[1]).guestFrame.number))
    #expect(one.row(words[3]).guestFrame.number == 0x210)
    one.end()
  }

  @Test("a direct root has the levels that a guest's physical addresses need (R33; rows 6 to 11)")
  func directLevels() {
    var configuration = MachineConfiguration()
    for (bits, level) in [(36, Level.level4), (48, .level4), (49, .level5), (52, .level5)] {
      configuration.guestPhysicalBits = bits
      configuration.vendor = .intel
      #expect(configuration.fittingRootLevel(atMost: .level5) == level)
      #expect(configuration.fittingRootLevel(atMost: .level4) == .level4)
      // Nested page tables are as deep as the host's own.
      configuration.vendor = .amd
      #expect(configuration.fittingRootLevel(atMost: .level5) == .level5)
      #expect(configuration.fittingRootLevel(atMost: .level4) == .level4)
    }
    for depth in 3...5 {
      var role = ShadowPageRole.shadow(of: .normal)
      role.mapsLinearly = true
      role.depth = depth
      for guest in 0...5 { #expect(role.isSpecialRoot(overDepth: guest) == (depth == 3)) }
    }
  }
}
