import PagingUnits
import Testing
import X86Paging

@Suite("Other formats")
struct OtherFormatTests {
  private func walk(
    _ memory: inout TableMemory, _ registers: ControlRegisters, _ linear: UInt64,
    _ kind: AccessKind = .read
  ) -> GuestWalk {
    WalkRules(registers, features: PagingFeatures()).walk(
      GuestVirtual(linear), kind, by: .user, registers, marking: .update, in: &memory)
  }

  @Test("32-bit paging has two levels of 4-byte entries, also at odd indices")
  func bits32() {
    var memory = TableMemory()
    memory[short: 0x1000 + 5 * 4] = 0x2007
    memory[short: 0x2000 + 7 * 4] = 0x89AB_C007
    let found = walk(&memory, registers(.bits32), 5 << 22 | 7 << 12 | 0x123, .write)
    #expect(found.page?.address == GuestPhysical(0x89AB_C123))
    #expect(memory[short: 0x2000 + 7 * 4] == 0x89AB_C067)
    #expect(memory[short: 0x1000 + 5 * 4] == 0x2027)
    #expect(memory[short: 0x1000 + 4 * 4] == 0)
    #expect(found.page?.rights == .all)
  }

  @Test("a 4 MiB page takes address bits 39:32 from bits 20:13")
  func largePage() {
    var memory = TableMemory()
    memory[short: 0x1000 + 5 * 4] = 0x8040_0087 | 0xA5 << 13
    let page = walk(&memory, registers(.bits32), 5 << 22 | 0x12_3456).page
    #expect(page?.address == GuestPhysical(0xA5_8052_3456))
    #expect(page?.byteCount == 4 << 20)
    #expect(page?.level == .page2M)
  }

  @Test("without CR4.PSE bit 7 is ignored")
  func noPSE() {
    var memory = TableMemory()
    var state = registers(.bits32)
    state.cr4 &= ~CR4Layout.pageSizeExtensions.mask
    memory[short: 0x1000 + 5 * 4] = 0x2087
    memory[short: 0x2000] = 0x3007
    #expect(walk(&memory, state, 5 << 22).page?.address == GuestPhysical(0x3000))
  }

  @Test("PAE paging starts at the registers, whatever memory says, and takes no rights from them")
  func pae() {
    var memory = TableMemory()
    var state = registers(.pae)
    state.pdptes[3] = 0x2001
    memory[0x2000 + 6 * 8] = 0x3007
    memory[0x3000 + 7 * 8] = 0x9000 | 7
    let linear: UInt64 = 3 << 30 | 6 << 21 | 7 << 12
    let found = walk(&memory, state, linear, .write)
    #expect(found.page?.address == GuestPhysical(0x9000))
    #expect(found.page?.rights == .all)
    #expect(found.path[.page1G]?.entry == 0x2001)
    #expect(found.path[.page1G]?.address == GuestPhysical(0x1018))
    #expect(memory.exchanges.map(\.raw) == [0x2030, 0x3038])
    state.pdptes[3] = 0x2000
    #expect(walk(&memory, state, linear).fault?.code == .user)
    #expect(walk(&memory, state, linear).fault?.level == .page1G)
  }

  @Test("PDPTEs load when present ones are clean; absent ones may hold anything")
  func loading() {
    let rules = WalkRules(registers(.pae), features: PagingFeatures())
    var memory = TableMemory()
    for (index, word) in [0x2001, ~1, 0x3001, 0].enumerated() as EnumeratedSequence<[UInt64]> {
      memory[0x1020 + UInt64(index) * 8] = word
    }
    guard case .loaded(let values) = rules.loadPDPTEs(cr3: 0x103F, in: &memory) else {
      Issue.record("clean entries load")
      return
    }
    #expect(values[0] == 0x2001 && values[1] == ~1 && values[2] == 0x3001 && values[3] == 0)
    memory[0x1030] |= 1 << 5
    guard case .reservedBit(index: 2) = rules.loadPDPTEs(cr3: 0x1020, in: &memory) else {
      Issue.record("a reserved bit refuses")
      return
    }
    guard case .absent = rules.loadPDPTEs(cr3: 0x8000_0000, in: &memory) else {
      Issue.record("no memory refuses")
      return
    }
  }

  private func second(
    _ memory: inout TableMemory, _ kind: AccessKind, pointer: UInt64
  ) -> GuestWalk {
    WalkRules(eptPointer: pointer, features: PagingFeatures()).walkSecondDimension(
      GuestPhysical(2 << 30 | 0x123), kind, root: pointer, marking: .update, in: &memory)
  }

  @Test("EPT tables gather R, W and X over the levels; a violation tells what was gathered")
  func extended() {
    var memory = TableMemory()
    memory[0x1000] = 0x2007
    memory[0x2010] = 0x3005
    memory[0x3000] = 0x4007
    memory[0x4000] = 0x12_3456_7036 | 1
    let found = second(&memory, .fetch, pointer: 0x101E)
    #expect(found.page?.address == GuestPhysical(0x12_3456_7123))
    #expect(found.page?.rights == [.user, .execute])
    #expect(memory.exchanges.isEmpty)
    let refused = second(&memory, .write, pointer: 0x101E).fault
    #expect(refused?.code == [.present, .write])
    #expect(refused?.rights == [.user, .execute])
  }

  @Test("EPT tables have accessed and dirty bits only where the pointer says so")
  func extendedMarks() {
    var memory = TableMemory()
    memory[0x1000] = 0x2007
    memory[0x2010] = 0x80_0000_00B7
    _ = second(&memory, .write, pointer: 0x101E)
    #expect(memory[0x2010] & 0x300 == 0)
    _ = second(&memory, .read, pointer: 0x105E)
    #expect(memory[0x1000] & 0x300 == 0x100 && memory[0x2010] & 0x300 == 0x100)
    _ = second(&memory, .write, pointer: 0x105E)
    #expect(memory[0x1000] & 0x300 == 0x100 && memory[0x2010] & 0x300 == 0x300)
  }

  @Test("a nested PAE table reads its PDPTEs from memory on each walk, and checks them")
  func nestedPAE() {
    var memory = TableMemory()
    let rules = WalkRules(registers(.pae), features: PagingFeatures())
    memory[0x1000 + 2 * 8] = 0x2001
    memory[0x2000] = 0x60_0087
    func walk() -> GuestWalk {
      rules.walkSecondDimension(
        GuestPhysical(2 << 30 | 5), .write, root: 0x1000, marking: .update, in: &memory)
    }
    #expect(walk().page?.address == GuestPhysical(0x60_0005))
    memory[0x1000 + 2 * 8] |= 1 << 7
    #expect(walk().fault?.code == [.present, .reserved, .write, .user])
    memory[0x1000 + 2 * 8] = 0
    #expect(walk().fault?.code == [.write, .user])
  }
}
