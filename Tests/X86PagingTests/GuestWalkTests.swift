import PagingUnits
import Testing
import X86Paging

/// A 4-level address space with one page.
///
/// Every index differs, so that a wrong shift finds an empty entry.
struct OnePage {
  var memory = TableMemory()
  var registers = X86PagingTests.registers(.fourLevel)
  var linear = GuestVirtual(1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0xABC)
  /// Where the entries lie, from the top down.
  static let places: [UInt64] = [0x1008, 0x2010, 0x3018, 0x4020]

  init() {
    memory[0x1008] = 0x2007
    memory[0x2010] = 0x3007
    memory[0x3018] = 0x4007
    memory[0x4020] = 0x12_3456_7007
  }

  mutating func walk(
    _ kind: AccessKind = .read, _ privilege: Privilege = .user,
    _ marking: AccessedDirtyMarking = .update
  ) -> GuestWalk {
    let rules = WalkRules(registers, features: PagingFeatures())
    return rules.walk(linear, kind, by: privilege, registers, marking: marking, in: &memory)
  }
}

extension GuestWalk {
  /// The page; `nil` when there is none.
  var page: GuestMapping? {
    guard case .mapped(let page) = outcome else { return nil }
    return page
  }

  /// The fault; `nil` when there is none.
  var fault: WalkFault? {
    guard case .fault(let fault) = outcome else { return nil }
    return fault
  }
}

@Suite("The guest walk")
struct GuestWalkTests {
  @Test("a page is found through four levels, and every entry is on the path")
  func fourLevels() throws {
    var space = OnePage()
    let walk = space.walk()
    let page = try #require(walk.page)
    #expect(page.address == GuestPhysical(0x12_3456_7ABC))
    #expect(page.level == .page4K && page.byteCount == 4096)
    #expect(page.rights == .all)
    #expect(page.rightsWhileClean == [.execute, .user])
    #expect(walk.path.count == 4)
    #expect(walk.path[.level4]?.address == GuestPhysical(0x1008))
    #expect(walk.path[.page4K]?.tableFrame == GuestFrame(4))
    #expect(walk.path[.level5] == nil)
  }

  @Test("a step knows the rights above it, not its own")
  func rightsAbove() {
    var space = OnePage()
    space.memory[0x2010] &= ~2
    space.memory[0x3018] |= 1 << 63
    let path = space.walk().path
    let above = [Level.level4, .page1G, .page2M, .page4K].map { path[$0]?.rightsAbove }
    #expect(above == [.all, .all, [.execute, .user], .user])
  }

  @Test("a read sets every accessed bit from the top down, a write the leaf's dirty bit too")
  func accessedAndDirty() {
    var space = OnePage()
    #expect(space.walk(.read).page?.wasAccessed == false)
    #expect(space.memory.exchanges.map(\.raw) == OnePage.places)
    #expect(space.memory[0x4020] & 0x60 == 0x20)
    #expect(space.walk(.write).page?.isDirty == true)
    #expect(space.memory.exchanges.count == 5)
    #expect(space.memory[0x4020] & 0x60 == 0x60)
    #expect(space.memory[0x3018] & 0x60 == 0x20)
    #expect(space.walk(.write).page?.wasAccessed == true)
    #expect(space.memory.exchanges.count == 5)
  }

  @Test("a report writes nothing")
  func report() {
    var space = OnePage()
    let before = space.memory.words
    #expect(space.walk(.write, .user, .report).page?.isDirty == false)
    #expect(space.memory.words == before)
  }

  @Test("an entry that changes under the walk restarts it from the top", arguments: OnePage.places)
  func restart(place: UInt64) {
    var space = OnePage()
    space.memory.rival = (GuestPhysical(place), 3)
    #expect(space.walk(.write).page != nil)
    #expect(space.memory.rival.times == 0)
    #expect(space.memory[place] & 1 << 9 != 0)
    #expect(space.memory[place] & 0x20 != 0)
  }

  @Test("a walk that never wins gives up")
  func contended() {
    var space = OnePage()
    space.memory.rival = (GuestPhysical(0x3018), .max)
    #expect(space.walk().outcome == .contended)
    #expect(Int.max - space.memory.rival.times == GuestWalk.restartLimit)
  }

  @Test("tables that cannot be written keep their bits clear, and the walk goes on")
  func readOnlyTables() {
    var space = OnePage()
    space.memory.readOnly = [GuestFrame(2), GuestFrame(4)]
    let page = space.walk(.write).page
    #expect(page?.isDirty == false)
    #expect(space.memory.exchanges.map(\.raw) == [0x1008, 0x3018])
  }

  @Test("an absent entry ends the walk with P = 0, at each level", arguments: 1...4)
  func absent(depth: Int) throws {
    var space = OnePage()
    space.memory[OnePage.places[4 - depth]] &= ~1
    let walk = space.walk(.write)
    #expect(try #require(walk.fault).code == [.write, .user])
    #expect(walk.fault?.cause == .absentEntry)
    #expect(walk.fault?.level == Level(depth))
    #expect(walk.path.lowest == Level(depth))
    #expect(space.memory.exchanges.isEmpty)
  }

  @Test("a table outside memory is like an absent entry")
  func absentTable() {
    var space = OnePage()
    space.memory[0x2010] = 0x80_0000_0007
    let walk = space.walk(.fetch)
    #expect(walk.fault?.code == [.fetch, .user])
    #expect(walk.fault?.cause == .absentTable)
    #expect(walk.fault?.level == .page2M)
  }

  @Test("a reserved bit above wins over an absent entry below, and an absent one above over it")
  func order() {
    var space = OnePage()
    space.memory[0x2010] |= 1 << 50
    space.memory[0x4020] = 0
    #expect(space.walk().fault?.code == [.present, .reserved, .user])
    #expect(space.walk().fault?.level == .page1G)
    space.memory[0x1008] &= ~1
    #expect(space.walk().fault?.code == .user)
  }

  @Test("rights are asked for after every level was read, and a refusal sets no bit")
  func refusal() {
    var space = OnePage()
    space.memory[0x1008] &= ~4
    let walk = space.walk(.read)
    #expect(walk.fault?.code == [.present, .user])
    #expect(walk.fault?.cause == .permission)
    #expect(walk.path.count == 4)
    #expect(space.memory.exchanges.isEmpty)
    #expect(space.walk(.read, .supervisor).page != nil)
  }

  @Test("a fetch is told apart only with NXE or SMEP")
  func fetchBit() {
    var space = OnePage()
    space.memory[0x4020] = 0
    #expect(space.walk(.fetch).fault?.code == [.fetch, .user])
    space.registers.efer &= ~EFERLayout.noExecute.mask
    #expect(space.walk(.fetch).fault?.code == .user)
    space.registers.cr4 |= CR4Layout.executionPrevention.mask
    #expect(space.walk(.fetch).fault?.code == [.fetch, .user])
  }

  @Test("an address that is not canonical is refused before anything is read")
  func canonical() {
    var space = OnePage()
    space.linear = GuestVirtual(1 << 47)
    #expect(space.walk().outcome == .nonCanonical)
    #expect(space.walk().path.count == 0)
  }

  @Test("large pages keep the offset of their size", arguments: [2, 3])
  func largePages(depth: Int) {
    var space = OnePage()
    let size = Level(depth).byteCount
    space.memory[OnePage.places[4 - depth]] = 7 * size | 1 << 12 | 0x87
    let page = space.walk().page
    #expect(page?.address == GuestPhysical(7 * size + space.linear.raw % size))
    #expect(page?.level == Level(depth))
    #expect(page?.byteCount == size)
  }

  @Test("five levels begin one level higher")
  func fiveLevels() {
    var space = OnePage()
    space.registers = X86PagingTests.registers(.fiveLevel)
    space.registers.cr3 = 0x5000
    space.memory[0x5000 + 6 * 8] = 0x1007
    space.linear = GuestVirtual(space.linear.raw | 6 << 48)
    #expect(space.walk().page?.address == GuestPhysical(0x12_3456_7ABC))
    #expect(space.walk().path.count == 5)
  }

  @Test("without paging an address stands for itself, up to 32 bits")
  func off() {
    var space = OnePage()
    space.registers = X86PagingTests.registers(.off)
    space.linear = GuestVirtual(0x1_2345_6789)
    #expect(space.walk(.write).page?.address == GuestPhysical(0x2345_6789))
  }
}
