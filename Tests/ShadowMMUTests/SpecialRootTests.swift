import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import Testing
import VirtualMachine
import X86Paging

@testable import ShadowMMU

@Suite("Special roots")
struct SpecialRootTests {
  typealias Design = MachineConfiguration.SpecialRootKind

  @Test("a guest without paging gets four linear GiB (R1)", arguments: Design.allCases)
  func withoutPaging(design: Design) throws {
    var one = try RootBench(design)
    let state = registers(paging: false)
    #expect(one.load(state) == .loaded)
    #expect(one.state.rootRole.word == 0x1783)
    for index in 0..<4 as Range<UInt64> {
      _ = one.fault(index << 30, .read, state)
      let word = one.rootWords()[Int(index)]
      #expect(one.row(word).role.word == 0x1782)
      #expect(one.row(word).guestFrame.number == index << 18)
      // PDPTEs have no rights (R8): W, U, A, D, PS and bit 8 are clear.
      #expect(word & 0x1E6 == 0 && word & 1 == 1)
      if design == .localPages { #expect(word & 0xFFF == 0x801) }
    }
    #expect(one.rootWords()[4...].allSatisfy { $0 & 1 == 0 })
    one.end()
  }

  @Test(
    "a 32-bit guest's directory has four shadows, one a quadrant (R2)", arguments: Design.allCases)
  func shortEntries(design: Design) throws {
    var one = try RootBench(design)
    let state = registers(cr3: 0x123_4000)
    for index in 0..<4 as Range<UInt64> {
      // The first entry of each quarter maps 4 MiB.
      one.bench.write(index << 22 | 0xE7, 4, at: 0x123_4000 + index * 0x400)
    }
    #expect(one.load(state) == .loaded)
    for index in 0..<4 as Range<UInt64> { #expect(one.fault(index << 30, .read, state) == .fixed) }
    let rows = one.rootWords()[..<4].map { one.row($0) }
    #expect(rows.map(\.role.word) == [0x3712, 0x3732, 0x3752, 0x3772])
    #expect(rows.allSatisfy { $0.guestFrame.number == 0x1234 })
    #expect(ShadowTables.violation(in: one.bench.machine) == nil)
    one.end()
  }

  @Test("a PDPTE that is absent or leads nowhere has no entry (R3, R5)", arguments: Design.allCases)
  func absentPointers(design: Design) throws {
    var one = try RootBench(design)
    var state = registers(pae: true, cr3: 0x1000)
    state.pdptes = [0x20_0001, 0, 0x30_0001, 0x4000_0001]
    for table in [0x20_0000, 0x30_0000] as [UInt64] { one.bench.write(0xE7, 8, at: table) }
    #expect(one.load(state) == .loaded)
    #expect(one.fault(0, .read, state) == .fixed)
    // The page below is there already: only the way to it is new.
    #expect(one.fault(2 << 30, .read, state) == .spurious)
    for index in [1, 3] as [UInt64] {
      guard case .guestFault(let code) = one.fault(index << 30, .read, state) else {
        Issue.record("an absent pointer is the guest's fault")
        continue
      }
      #expect(code.guestCode == 0)
    }
    let words = one.rootWords()
    #expect(words[1] & 1 == 0 && words[3] & 1 == 0)
    #expect([words[0], words[2]].map { one.row($0).role.quadrant } == [0, 0])
    #expect([words[0], words[2]].map { one.row($0).guestFrame.number } == [0x200, 0x300])
    one.end()
  }

  @Test("two PDPTEs of one frame share a shadow (R4)", arguments: Design.allCases)
  func sharedPointer(design: Design) throws {
    var one = try RootBench(design)
    var state = registers(pae: true, cr3: 0x1000)
    state.pdptes = [0x20_0001, 0x20_0001, 0, 0]
    one.bench.write(0xE7, 8, at: 0x20_0000)
    #expect(one.load(state) == .loaded)
    _ = one.fault(0, .read, state)
    _ = one.fault(1 << 30, .read, state)
    let words = one.rootWords()
    #expect(words[0] == words[1] && words[0] & 1 == 1)
    let links = one.tables.maps.lists.count(one.tables.shadow[one.id(words[0])].parents)
    switch design {
    case .tables: #expect(one.row(words[0]).rootReferences == 2 && links == 0)
    case .localPages: #expect(one.row(words[0]).rootReferences == 0 && links == 2)
    }
    one.end()
  }

  @Test("other PDPTEs are another root, whatever CR3 says (R6, R29)", arguments: Design.allCases)
  func otherPointers(design: Design) throws {
    var one = try RootBench(design)
    var first = registers(pae: true, cr3: 0x1000)
    first.pdptes = [0x20_0001, 0, 0, 0]
    var second = first
    second.cr3 = 0x1020
    second.pdptes = [0x30_0001, 0, 0, 0]
    for table in [0x20_0000, 0x30_0000] as [UInt64] { one.bench.write(0xE7, 8, at: table) }
    for state in [first, second, first] {
      #expect(one.load(state) == .loaded)
      _ = one.fault(0, .read, state)
      #expect(one.row(one.rootWords()[0]).guestFrame.number == state.pdptes[0] >> 12)
      for index in 0..<3 { #expect(one.state.kept[index].page == .none) }
    }
    one.end()
  }

  @Test(
    "another CR3 of a 32-bit guest builds the special root anew, and keeps none (R29)",
    arguments: Design.allCases)
  func otherDirectories(design: Design) throws {
    var one = try RootBench(design)
    for (number, pointer) in [0x40_0000, 0x50_0000, 0x40_0000].enumerated() {
      let state = registers(cr3: UInt64(pointer))
      one.bench.write(0xE7, 4, at: UInt64(pointer))
      one.adopt(state)
      #expect(one.state.root == .none && one.loadRoot(state) == .loaded)
      let outcome = one.fault(0, .read, state)
      // The page below is there already: only the way to it is new.
      #expect(outcome == (number == 0 ? .fixed : .spurious))
      #expect(one.row(one.rootWords()[0]).guestFrame.number == UInt64(pointer) >> 12)
      for index in 0..<3 { #expect(one.state.kept[index].page == .none) }
    }
    one.end()
  }

  @Test(
    "the root of PAE paging lies below 4 GiB, however much memory lies above (R7)",
    arguments: Design.allCases)
  func lowRoot(design: Design) throws {
    var one = try RootBench(design, host: 6 << 30)
    // The process takes what is below 4 GiB, in pages as large as there are.
    var places: [HostVirtual] = []
    for size in [Level.page1G, .page2M, .page4K] {
      var isLow = true
      while isLow {
        let place = try one.bench.machine.process.add(
          HostRegionRequest(byteCount: size.byteCount, backing: .anonymous(largestPage: size)))
        let answer = one.bench.machine.process.lookUp(
          place, for: .write, telling: one.bench.machine)
        guard case .page(let page) = answer else {
          Issue.record("\(answer)")
          return
        }
        isLow = FrameZone.below4G.contains(page.frame)
        if isLow && size == .page4K { places.append(place) }
      }
    }
    // Some of it is given back, and after it every other of many frames above, so that they are
    // handed out first.
    try #require(places.count > 16)
    var high: [HostFrame] = []
    for _ in 0..<64 {
      let frame = one.bench.machine.process.host.allocateTable(owner: 0)
      high.append(try #require(frame))
    }
    for place in places.suffix(16) {
      let outcome = one.bench.machine.unmapHost(place..<place + 4096)
      #expect(outcome == .done)
    }
    for frame in high where frame.number & 1 == 0 {
      one.bench.machine.process.host.freeTable(frame)
    }
    #expect(one.load(registers(paging: false)) == .loaded)
    let frame = one.rootFrame
    #expect(frame.map { FrameZone.below4G.contains($0) } == true)
    one.end()
  }

  @Test("a 4-level guest's root is an ordinary page (R11)", arguments: Design.allCases)
  func ordinary(design: Design) throws {
    var one = try RootBench(design)
    #expect(one.load(registers(pae: true, long: true, cr3: 0x5000)) == .loaded)
    let id = try #require(one.state.root.page)
    #expect(one.tables.arena[id].role.depth == 4 && one.tables.arena[id].guestFrame.number == 5)
    #expect(one.tables.hasGuestEntries(id) && one.state.special.pae == nil)
    #expect(one.tables.arena.activeCount == 1)
    one.end()
  }

  @Test(
    "a nested root over a smaller one is a chain of special tables (R12, R13, R14, R23, R24)",
    arguments: Design.allCases, [Level.level4, .level5])
  func nestedChain(design: Design, levels: Level) throws {
    var one = try RootBench(design)
    let host = registers(pae: false, cr3: 0x40_0000)
    one.bench.write(0xE7, 4, at: 0x40_0000)
    for _ in 0..<2 {
      #expect(one.loadNested(host, levels: levels) == .loaded)
      _ = one.fault(0, .read, host)
      var words = one.rootWords()
      for _ in 0..<(levels.depth - 3) {
        // Upper entries are those of long mode: present, writable, user, accessed.
        #expect(words[0] & 0x27 == 0x27)
        #expect(words[1...].allSatisfy { $0 & 1 == 0 })
        words = one.words(one.target(words[0]))
      }
      #expect(words[0] & 0x27 == 0x27 && one.row(words[0]).role.depth == 2)
      #expect(one.row(words[0]).guestFrame.number == 0x400)
      // The page of level 2, or all four, and the linear one below; no special table is listed.
      #expect(one.tables.arena.activeCount == (design == .tables ? 5 : 2))
      one.free(.all)
      _ = one.loadNested(host, levels: levels)
      one.free(.all)
    }
    one.end()
  }

  @Test("a passthrough root leads on to the guest's own (R18, R20, R21)")
  func passthrough() throws {
    var one = try RootBench(.tables)
    let host = registers(pae: true, long: true, cr3: 0x40_0000)
    one.bench.write(0x50_0027, 8, at: 0x40_0000)
    one.bench.write(0x60_0027, 8, at: 0x50_0000)
    one.bench.write(0xE7, 8, at: 0x60_0000)
    #expect(one.loadNested(host, levels: .level5) == .loaded)
    #expect(one.fault(0, .read, host) == .fixed)
    let root = try #require(one.state.root.page)
    #expect(one.tables.arena[root].role.word == 0x61705 && !one.tables.hasGuestEntries(root))
    let child = one.row(one.rootWords()[0])
    #expect(child.role.word == 0x21704 && child.guestFrame == one.tables.arena[root].guestFrame)
    #expect(one.rootWords()[1...].allSatisfy { $0 & 1 == 0 })
    #expect(one.tables.translation(at: ShadowPlace(root, 3)).frame.number == 0x400)
    // One of the two pages of the frame is accounted for.
    #expect(one.bench.machine.shadow.indirectPageCount == 3)
    // A store to the guest's first entry drops that of the 4-level page and not the one above
    // (R19).
    one.bench.write(0, 8, at: 0x40_0000)
    one.bench.machine.shadow.wrote(
      GuestPhysical(0x40_0000), count: 8, one.state, one.bench.machine.tables,
      one.bench.machine.slots, one.bench.machine.process)
    #expect(one.rootWords()[0] & 1 == 1)
    #expect(one.words(child.frame)[0] & 1 == 0)
    one.free(.all)
    // The same CR3 with five levels of the guest's is another page.
    let five = registers(pae: true, long: true, la57: true, cr3: 0x40_0000)
    #expect(one.loadNested(five, levels: .level5) == .loaded)
    let other = try #require(one.state.root.page)
    #expect(other != root && one.tables.arena[other].role.word == 0x21705)
    one.end()
  }

  @Test("a page of level 2 that goes leaves the local root without its entry (R25)")
  func localUnlinks() throws {
    var one = try RootBench(.localPages)
    let state = registers(cr3: 0x40_0000)
    one.bench.write(0xE7, 4, at: 0x40_0000)
    #expect(one.load(state) == .loaded && one.fault(0, .read, state) == .fixed)
    let root = one.state.root
    #expect(one.rootWords()[0] & 1 == 1)
    let wasShadowed = one.bench.machine.shadow.unprotect(
      GuestFrame(0x400), one.bench.machine.tables, one.bench.machine.slots,
      one.bench.machine.process.host)
    #expect(wasShadowed && one.rootWords()[0] & 1 == 0 && one.state.root == root)
    #expect(one.isObsolete == false)
    #expect(one.fault(0, .read, state) == .spurious && one.rootWords()[0] & 1 == 1)
    one.end()
  }

  @Test("a local root is good again after two generations (R26)")
  func twoGenerations() throws {
    var one = try RootBench(.localPages)
    let state = registers(cr3: 0x40_0000)
    one.bench.write(0xE7, 4, at: 0x40_0000)
    #expect(one.load(state) == .loaded && one.fault(0, .read, state) == .fixed)
    one.bench.machine.zapAll()
    #expect(one.isObsolete == true)
    one.bench.machine.zapAll()
    #expect(one.isObsolete == false)
    #expect(one.rootWords()[0] & 1 == 0)
    #expect(one.fault(0, .read, state) == .fixed)
    one.end()
  }

  @Test("a chain without an entry is freed by itself (R28)")
  func emptyChain() throws {
    var one = try RootBench(.localPages)
    #expect(one.loadNested(registers(cr3: 0x40_0000), levels: .level5) == .loaded)
    let before = one.bench.machine.tables.arena.length(of: .retired)
    one.free(.all)
    #expect(one.bench.machine.tables.arena.length(of: .retired) == (before ?? 0) + 1)
    one.end()
  }

  @Test("a 4-level root is found again among the last three (R30)")
  func keptRoots() throws {
    var one = try RootBench(.tables)
    var states = (1...5).map {
      registers(pae: true, long: true, cr3: UInt64($0) << 12)
    }
    #expect(one.load(states[0]) == .loaded)
    let first = one.state.root
    for index in [1, 2, 3] { #expect(one.load(states[index]) == .loaded) }
    one.adopt(states[0])
    #expect(one.state.root == first)
    // The fifth drives the least recent of the others out.
    one.adopt(states[4])
    #expect(one.state.root == .none && one.loadRoot(states[4]) == .loaded)
    one.adopt(states[1])
    #expect(one.state.root == .none)
    #expect(one.loadRoot(states[1]) == .loaded)
    states.removeAll()
    one.end()
  }

  @Test(
    "a root that lies where there is no memory is a dummy until there is (R35)",
    arguments: Design.allCases)
  func dummy(design: Design) throws {
    for state in [
      registers(cr3: 0x4000_0000), registers(pae: true, long: true, cr3: 0x4000_0000),
    ] {
      var one = try RootBench(design)
      #expect(one.load(state) == .loaded && one.state.root == .dummy)
      #expect(one.rootWords().allSatisfy { $0 & 1 == 0 })
      guard case .guestFault = one.fault(0, .read, state) else {
        Issue.record("a table without memory is the guest's fault")
        return
      }
      one.end()
    }
  }

  @Test(
    "a nested root takes no bare tables that another MMU's root has made in part (R15)",
    arguments: Design.allCases, [Level.level4, .level5])
  func partialSet(design: Design, levels: Level) throws {
    var one = try RootBench(design)
    let host = registers(cr3: 0x40_0000)
    #expect(one.load(host) == .loaded)
    one.free(.all)
    #expect((one.state.special.pae != nil) == (design == .tables))
    let here = one.loadNestedHere(host, levels: levels)
    #expect(here == (design == .tables ? .mistaken : .loaded))
    one.free(.all)
    // Nothing was added to the set, and with a set of its own the root loads.
    if design == .tables {
      #expect(one.state.special.level4 == nil && one.state.special.level5 == nil)
      #expect(one.state.root == .none)
    }
    #expect(one.loadNested(host, levels: levels) == .loaded)
    one.end()
  }

  @Test("refused bare tables leave none behind (R16)", arguments: 1...3)
  func refused(nth: Int) throws {
    var one = try RootBench(.tables)
    let host = one.bench.machine.process.host.share()
    // The stock of tables first, so that the bare ones are what is refused.
    #expect(
      one.bench.machine.tables.topUpShadow(&one.state.cache, 8, from: host) == .ready)
    host.refuse(.once(UInt64(nth)))
    #expect(one.loadNested(registers(cr3: 0x40_0000), levels: .level5) == .refused)
    #expect(one.state.special.pae == nil && one.state.special.level4 == nil)
    #expect(one.state.special.level5 == nil)
    host.refuse(.never)
    one.end()
  }
}
