import HardwareModel
import HostMemory
import PagingUnits
import Testing

/// What a write that sub-pages let through leaves behind: dirty bits, what is kept, and what exits
/// tell.
@Suite("Sub-page write permissions: marks, caching and exits")
struct SubpageCachingTests {
  private static let violation = SubpageTests.violation

  // MARK: S38, S39: marks

  // S38
  @Test("a write that goes through marks the way and the leaf, which stays read-only")
  func marks() throws {
    let bench = try SubpageWorld(.off)
    bench.world.usesSecondMarks = true
    bench.vector = 1
    #expect(bench.store(0x5000) == nil)
    let leaf = bench.world[second: 0x5000, 1]
    #expect(leaf & 0x300 == 0x300 && leaf & 2 == 0 && leaf & 1 << 61 != 0)
    for depth in 2...4 {
      #expect(bench.world[second: 0x5000, depth] & 0x300 == 0x100)
    }
    // Entries of the sub-page-permission tables have no such bits.
    #expect(bench.vector == 1 && bench[0x5000, 4] & 0xFFF == 1)
  }

  // S39
  @Test("a refused write marks nothing, a miss and a misconfiguration neither", arguments: 0..<3)
  func noMarks(_ way: Int) throws {
    let bench = try SubpageWorld(.off)
    bench.world.usesSecondMarks = true
    if way == 1 { bench[0x5000, 3] = 0 }
    if way == 2 { bench.vector = 3 }
    #expect(bench.store(0x5000) != nil)
    for depth in 1...4 { #expect(bench.world[second: 0x5000, depth] & 0x300 == 0) }
  }

  // S40
  @Test("a write that goes through is logged once, when it makes the page dirty")
  func logged() throws {
    let bench = try SubpageWorld(.off)
    bench.world.usesSecondMarks = true
    bench.vector = 0x5555_5555_5555_5555
    let page = HostPhysical(bench.world.hostFrame())
    bench.modificationLog = ModificationLog(page: page)
    #expect(bench.store(0x5008) == nil)
    #expect(bench.store(0x5010) == nil)
    #expect(bench.modificationLog?.index == 510)
    #expect(bench.world.memory.entry(at: page + 511 * 8) == 0x5000)
  }

  @Test("a write that finds the log full leaves the guest, and marks nothing")
  func fullLog() throws {
    let bench = try SubpageWorld(.off)
    bench.world.usesSecondMarks = true
    bench.vector = 1
    let page = HostPhysical(bench.world.hostFrame())
    bench.modificationLog = ModificationLog(page: page, index: .max)
    #expect(bench.access(0x5000, .write) == .exit(.modificationLogFull(GuestPhysical(0x5000))))
    #expect(bench.world[second: 0x5000, 1] & 0x300 == 0)
    bench.modificationLog?.index = 0
    #expect(bench.store(0x5000) == nil)
    #expect(bench.modificationLog?.isFull == true)
    // A page that is dirty already needs no entry.
    #expect(bench.store(0x5000) == nil)
  }

  // MARK: S41, S42: instructions

  // S41
  @Test("a read-modify-write is a write")
  func readModifyWrite() throws {
    let bench = try SubpageWorld()
    #expect(bench.access(0x5000, .write, 8).qualification == Self.violation)
    bench.vector = 1
    #expect(bench.access(0x5000, .write, 8).translation != nil)
  }

  // S42
  @Test("a string instruction is judged write by write", arguments: [1, 2, 4, 8] as [UInt64])
  func string(_ width: UInt64) throws {
    let bench = try SubpageWorld()
    bench.vector = 1
    var (index, remaining) = (0x5000 as UInt64, 256 / width)
    var outcome: HardwareOutcome?
    while remaining > 0 {
      outcome = bench.store(index, width)
      if outcome != nil { break }
      index += width
      remaining -= 1
    }
    #expect(outcome?.qualification == Self.violation && outcome?.exitAddress == 0x5080)
    #expect(index == 0x5080 && remaining == 128 / width)
    #expect(bench.byte(0x507F) == 0xA5 && bench.byte(0x5080) == 0)
  }

  // S43
  @Test("an exit tells of an IRET that lifted the blocking of NMIs, where that is defined")
  func unblocking() throws {
    let bench = try SubpageWorld()
    for (context, bit) in [
      ([], 0), (.unblocksNMI, 1 << 12), ([.unblocksNMI, .deliversEvent], 0),
      ([.unblocksNMI, .exitsForNMI], 0), (.deliversEvent, 0),
    ] as [(InstructionContext, UInt64)] {
      bench.instruction = context
      bench.vector = 0
      #expect(bench.access(0x5000, .write).qualification == Self.violation | bit)
      bench.vector = 2
      #expect(bench.access(0x5000, .write).subpageQualification == bit)
      let table = bench[0x5000, 3]
      bench[0x5000, 3] = 0
      #expect(bench.access(0x5000, .write).subpageQualification == 0x800 | bit)
      bench[0x5000, 3] = table
    }
  }

  // MARK: S44, S45: caching

  /// What a processor keeps.
  enum Keeping: CaseIterable {
    case nothing, translations, walks, both

    func apply(_ features: inout ProcessorFeatures) {
      features.translationSets = self == .translations || self == .both ? 16 : 0
      features.keepsWalks = self == .walks || self == .both
    }
  }

  // S44
  @Test("after INVEPT the new vector is effective", arguments: Keeping.allCases)
  func invalidated(_ keeping: Keeping) throws {
    for paging in SubpageWorld.Paging.allCases {
      let bench = try SubpageWorld(paging) { keeping.apply(&$0) }
      let scopes: [Invalidation] = [.root(bench.world.dimension), .allRoots, .everything]
      for scope in scopes {
        bench.vector = 1
        for _ in 0..<3 { #expect(bench.store(0x5000) == nil) }
        #expect(bench.access(0x5000, .read).translation?.usable.contains(.write) == false)
        bench.vector = 4
        bench.invalidate(scope)
        #expect(bench.access(0x5000, .write).qualification == Self.violation)
        for _ in 0..<3 { #expect(bench.store(0x5080) == nil) }
        bench.vector = 0
        bench.invalidate(scope)
        #expect(bench.access(0x5080, .write).qualification == Self.violation)
      }
    }
  }

  // S45
  @Test("without INVEPT the old vector may be seen where it permits, and never where it refuses")
  func stale() throws {
    let bench = try SubpageWorld { Keeping.both.apply(&$0) }
    bench.vector = 1
    #expect(bench.store(0x5000) == nil)
    bench.vector = 0
    // This processor keeps the vector.
    #expect(bench.store(0x5000) == nil)
    // What it keeps refuses, so it asks again, and keeps nothing.
    #expect(bench.store(0x5080) != nil)
    #expect(bench.store(0x5000) != nil)
    bench.vector = 4
    #expect(bench.store(0x5080) == nil)
  }

  @Test("what drops no guest-physical mappings keeps the vector", arguments: [0, 1, 2])
  func linearInvalidation(_ number: Int) throws {
    let bench = try SubpageWorld { Keeping.both.apply(&$0) }
    bench.vector = 1
    #expect(bench.store(0x5000) == nil)
    bench.vector = 0
    let kinds: [Invalidation] = [.allLinear, .linearAddress(GuestVirtual(0x5000)), .identifier(0)]
    bench.invalidate(kinds[number])
    #expect(bench.store(0x5000) == nil)
    // Another root's vectors stay as well.
    bench.invalidate(.root(.ept(eptp: 0x77_7000 | 0x1E)))
    #expect(bench.store(0x5000) == nil)
  }

  @Test("a write by a kept vector needs nothing of the tables, until the leaf changes and INVEPT")
  func keptLeaf() throws {
    let bench = try SubpageWorld { Keeping.both.apply(&$0) }
    bench.vector = 1
    #expect(bench.store(0x5000) == nil)
    #expect(bench.store(0x5000) == nil)
    let before = bench.counters
    #expect(bench.store(0x5001) == nil)
    #expect(bench.counters.hits == before.hits + 1 && bench.counters.misses == before.misses)
    // Bit 61 goes: stale at will, effective after INVEPT.
    bench.map(0x5000, 0x35)
    #expect(bench.store(0x5001) == nil)
    bench.invalidate(.root(bench.world.dimension))
    #expect(bench.access(0x5001, .write).qualification == Self.violation)
    // The control goes with the next entry.
    bench.map(0x5000, SubpageWorld.guarded)
    #expect(bench.store(0x5001) == nil)
    bench.controls.isEnabled = false
    #expect(bench.access(0x5001, .write).qualification == Self.violation)
  }

  @Test("a kept leaf that is not dirty yet is walked, and marked")
  func keptClean() throws {
    let bench = try SubpageWorld(.on) { Keeping.both.apply(&$0) }
    bench.world.usesSecondMarks = true
    bench.world[0x5000, 1] = 0x5000 | 0x27
    bench.vector = 1
    #expect(bench.access(0x5000, .read).translation != nil)
    #expect(bench.world[second: 0x5000, 1] & 0x200 == 0)
    #expect(bench.store(0x5000) == nil)
    #expect(bench.world[second: 0x5000, 1] & 0x300 == 0x300)
    #expect(bench.world[0x5000, 1] & 0x40 != 0)
  }

  @Test("a user's write is refused where a supervisor's went through by what is kept")
  func privileges() throws {
    let bench = try SubpageWorld { Keeping.both.apply(&$0) }
    bench.vector = SubpageTests.everything
    // Read-only for the guest, whose CR0.WP is 0.
    bench.world.registers.cr0 &= ~(1 << 16)
    bench.world[0x5000, 1] = 0x5000 | 0x65
    var processor = bench.world.processor { Keeping.both.apply(&$0) }
    processor.subpageControls = bench.controls
    func write(_ privilege: Privilege) -> HardwareOutcome {
      processor.translate(
        GuestVirtual(0x5000), .write, privilege, bench.world.registers,
        through: bench.world.dimension)
    }
    for _ in 0..<2 {
      #expect(write(.supervisor).translation != nil)
      #expect(write(.user).errorCode == 7)
    }
  }

  @Test("a vector that came through one root says nothing of another's page")
  func roots() throws {
    let bench = try SubpageWorld(.off) { Keeping.both.apply(&$0) }
    bench.vector = 1
    var processor = bench.world.processor { Keeping.both.apply(&$0) }
    guard case .ept(let eptp) = bench.world.dimension else {
      Issue.record("\(bench.world.dimension)")
      return
    }
    // The other root has the same tables of EPT below it, and empty ones of sub-pages.
    let memory = bench.world.memory
    let other = bench.world.hostFrame()
    let entry = memory.entry(at: HostPhysical(eptp & ~0xFFF))
    memory.setEntry(entry, at: HostPhysical(other))
    let dimensions = [bench.world.dimension, .ept(eptp: other | eptp & 0xFFF)]
    let pointers = [bench.controls.pointer, bench.world.hostFrame()]
    func write(_ which: Int) -> HardwareOutcome {
      processor.subpageControls = SubpageControls(pointer: pointers[which])
      return processor.translate(
        GuestVirtual(0x5000), .write, .supervisor, bench.world.registers,
        through: dimensions[which])
    }
    for _ in 0..<2 {
      #expect(write(0).translation != nil)
      #expect(write(1).subpageQualification == SubpageTests.miss)
    }
  }

  @Test("the guest's own rules come first", arguments: [false, true])
  func guestRules(_ isKept: Bool) throws {
    let bench = try SubpageWorld { Keeping.both.apply(&$0) }
    bench.vector = SubpageTests.everything
    if isKept { #expect(bench.store(0x5000) == nil) }
    bench.world.registers.cr0 |= 1 << 16
    bench.world[0x5000, 1] = 0x5000 | 0x65
    bench.invalidate(.allLinear)
    #expect(bench.access(0x5000, .write).errorCode == 3)
    #expect(bench.access(0x5000, .read).translation != nil)
  }
}
