import PagingUnits
import Testing
import X86Paging

@Suite("The list of mappings")
struct MappingCursorTests {
  private func list(_ cursor: inout MappingCursor, _ memory: inout TableMemory) -> [MappingCursor
    .Page]
  {
    var pages: [MappingCursor.Page] = []
    while let page = cursor.next(in: &memory) { pages.append(page) }
    return pages
  }

  /// Tables of random entries in frames 1 to 12, of which many point to each other.
  private func randomTables(_ seed: UInt64) -> TableMemory {
    var memory = TableMemory()
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func next() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    for frame in 1...12 as ClosedRange<UInt64> {
      for _ in 0..<6 {
        // Tables point to later frames alone: chains end.
        let target = frame + 1 + next() % 5
        let flags = next() & 0x8000_0000_0000_01E7
        memory[frame << 12 | (next() % 512) << 3] = target << 12 | flags
      }
    }
    return memory
  }

  @Test("the list agrees with a walk of each of its pages, in ascending order", arguments: 1...40)
  func agreesWithWalks(seed: UInt64) {
    for mode in [PagingMode.fourLevel, .fiveLevel, .pae] {
      var memory = randomTables(seed)
      var registers = X86PagingTests.registers(mode)
      if mode == .pae { registers.pdptes = [0x1001, 0, 0x2001, 0x3001] }
      let rules = WalkRules(registers, features: PagingFeatures())
      var cursor = MappingCursor(rules, registers)
      let pages = list(&cursor, &memory)
      for (page, later) in zip(pages, pages.dropFirst()) {
        #expect(page.linear < later.linear)
      }
      for page in pages {
        for kind in AccessKind.allCases {
          let walk = rules.walk(
            page.linear, kind, by: .supervisor, registers, marking: .report, in: &memory)
          if let found = walk.page {
            #expect(found.address == page.mapping.address)
            #expect(found.rights == page.mapping.rights)
            #expect(found.level == page.mapping.level)
          } else {
            #expect(walk.fault?.cause == .permission)
          }
        }
      }
    }
  }

  @Test("every page that a walk finds is on the list")
  func complete() {
    var memory = TableMemory()
    var expected: [UInt64] = []
    memory[0x1FF8] = 0x2003
    memory[0x2000] = 0x3003
    for index in [0, 1, 511] as [UInt64] {
      memory[0x3000 + index * 8] = 0x4003
      for page in [0, 17, 511] as [UInt64] {
        memory[0x4000 + page * 8] = 0x7000 + page << 12 | 3
        expected.append(0xFFFF_FF80_0000_0000 | index << 21 | page << 12)
      }
    }
    let registers = X86PagingTests.registers(.fourLevel)
    var cursor = MappingCursor(WalkRules(registers, features: PagingFeatures()), registers)
    #expect(list(&cursor, &memory).map(\.linear.raw) == expected)
    #expect(cursor.tableCount == 6)
  }

  @Test("32-bit tables are listed with their 4 MiB pages")
  func bits32() {
    var memory = TableMemory()
    memory[short: 0x1000] = 0x2003
    memory[short: 0x2004] = 0x9003
    memory[short: 0x1FFC] = 0x80_0083
    let registers = X86PagingTests.registers(.bits32)
    var cursor = MappingCursor(WalkRules(registers, features: PagingFeatures()), registers)
    let pages = list(&cursor, &memory)
    #expect(pages.map(\.linear.raw) == [0x1000, 0xFFC0_0000])
    #expect(pages.map(\.mapping.byteCount) == [4096, 4 << 20])
  }

  @Test("tables that point to themselves end, and the limit ends them early")
  func loops() {
    var memory = TableMemory()
    memory[0x1000] = 0x1003
    memory[0x1008] = 0x1003
    let registers = X86PagingTests.registers(.fourLevel)
    let rules = WalkRules(registers, features: PagingFeatures())
    var whole = MappingCursor(rules, registers)
    #expect(list(&whole, &memory).count == 16)
    #expect(!whole.reachedLimit)
    var short = MappingCursor(rules, registers, tableLimit: 5)
    #expect(list(&short, &memory).count == 4)
    #expect(short.reachedLimit && short.tableCount == 5)
  }

  @Test("entries with reserved bits and tables without memory are skipped and counted")
  func skipped() {
    var memory = TableMemory()
    memory[0x1000] = 0x2003
    memory[0x1008] = 0x2083
    memory[0x1010] = 0x7_0000_0003
    memory[0x2000] = 0x4000_0083
    let registers = X86PagingTests.registers(.fourLevel)
    var cursor = MappingCursor(WalkRules(registers, features: PagingFeatures()), registers)
    #expect(list(&cursor, &memory).map(\.linear.raw) == [0])
    #expect(cursor.malformedCount == 1)
    #expect(cursor.absentTableCount == 1)
  }

  @Test("without paging there is nothing to list")
  func off() {
    var memory = TableMemory()
    let registers = X86PagingTests.registers(.off)
    var cursor = MappingCursor(WalkRules(registers, features: PagingFeatures()), registers)
    #expect(cursor.next(in: &memory) == nil)
  }
}
