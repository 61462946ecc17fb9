import PagingUnits
import Testing
import X86Paging

/// A 4-level address space with one page at 0x40_2030_1000.
///
/// Every index differs, so that a wrong shift finds an empty entry.
struct OnePage {
  var memory = TableMemory()
  var registers = X86PagingTests.registers(.fourLevel)
  let linear = GuestVirtual(1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0xABC)
  static let flags: UInt64 = 0b111

  init() {
    memory[0x1000 + 1 * 8] = 0x2000 | Self.flags
    memory[0x2000 + 2 * 8] = 0x3000 | Self.flags
    memory[0x3000 + 3 * 8] = 0x4000 | Self.flags
    memory[0x4000 + 4 * 8] = 0x12_3456_7000 | Self.flags
  }

  mutating func walk(
    _ kind: AccessKind, _ privilege: Privilege = .user, _ marking: AccessedDirtyMarking = .update
  ) -> GuestWalk {
    let rules = WalkRules(registers, features: PagingFeatures())
    return rules.walk(linear, kind, by: privilege, registers, marking: marking, in: &memory)
  }
}

@Suite("The guest walk")
struct GuestWalkTests {
  @Test("a page is found through four levels, and every entry is on the path")
  func fourLevels() throws {
    var space = OnePage()
    let walk = space.walk(.read)
    guard case .mapped(let page) = walk.outcome else {
      Issue.record("\(walk.outcome)")
      return
    }
    #expect(page.address == GuestPhysical(0x12_3456_7ABC))
    #expect(page.level == .page4K && page.byteCount == 4096)
    #expect(page.rights == .all)
    #expect(page.rightsWhileClean == [.execute, .user])
    #expect(walk.path.count == 4)
    #expect(walk.path[.level4]?.address == GuestPhysical(0x1008))
    #expect(walk.path[.page4K]?.tableFrame == GuestFrame(4))
    #expect(walk.path[.level5] == nil)
  }

  @Test("a read sets every accessed bit from the top down, a write the leaf's dirty bit too")
  func accessedAndDirty() {
    var space = OnePage()
    _ = space.walk(.read)
    #expect(space.memory.exchanges.map(\.raw) == [0x1008, 0x2010, 0x3018, 0x4020])
    #expect(space.memory[0x4020] & 0x60 == 0x20)
    _ = space.walk(.write)
    #expect(space.memory.exchanges.count == 5)
    #expect(space.memory[0x4020] & 0x60 == 0x60)
    #expect(space.memory[0x3018] & 0x60 == 0x20)
  }

  @Test("a report writes nothing")
  func report() {
    var space = OnePage()
    let before = space.memory.words
    _ = space.walk(.write, .user, .report)
    #expect(space.memory.words == before)
  }
}
