import HostMemory
import MachineChecks
import PageTables
import PagingUnits
import Testing
import VirtualMachine
import X86Paging

@testable import ShadowMMU

@Suite("Roots on a host that encrypts its memory")
struct EncryptedRootTests {
  typealias Design = MachineConfiguration.SpecialRootKind

  /// The rows of the table of all roots that such a host has: a 32-bit one encrypts nothing.
  static let rows = (RootRow.own + RootRow.nested).filter { $0.levels != .page1G }

  private static func bench(_ design: Design, bit: Int) throws -> RootBench {
    try RootBench(design) { configuration in
      configuration.vendor = .amd
      configuration.physicalBits = 43
      configuration.guestPhysicalBits = 43
      configuration.encryptionBit = bit
    }
  }

  /// How many tables are in the clear while CR3 has 32 bits: the root, and where roots are shadow
  /// pages the dummy that may stand in for it.
  private static func clearCount(_ design: Design) -> Int { design == .tables ? 1 : 2 }

  @Test(
    "each row's tables lead on with the bit, and one in the clear is what CR3 of 32 bits has",
    arguments: rows, Design.allCases)
  func row(row: RootRow, design: Design) throws {
    for bit in [43, 47, 51] {
      var one = try Self.bench(design, bit: bit)
      row.load(&one)
      let frame = one.rootFrame
      let root = try #require(frame)
      // R8; row 14 is R9, as are those beside it.
      #expect(one.isClear(root) == (row.depths.root == 3), "\(row), \(design)")
      #expect(one.clearFrames == (row.depths.root == 3 ? Self.clearCount(design) : 0))
      if row.isSpecial { check(row, design, 1 << UInt64(bit), &one) }
      one.free(.all)
      one.end()
      // R10.
      #expect(one.clearFrames == 0 && !one.isClear(root))
    }
  }

  /// Walks down to the PDPTEs, and looks at the bits of each entry.
  private func check(
    _ row: RootRow, _ design: Design, _ mask: UInt64, _ one: inout RootBench
  ) {
    var words = one.rootWords()
    for _ in 3..<row.depths.root {
      #expect(words[0] & (mask | 0x27) == mask | 0x27)
      let next = one.target(words[0])
      #expect(one.isClear(next) == false)
      words = one.words(next)
    }
    for index in 0..<4 where row.child(index) != nil {
      let word = words[index]
      #expect(word & (mask | 1) == mask | 1)
      // W, U, A, D, PS and bit 8 are reserved in a PDPTE of PAE paging, and usual in other tables.
      #expect(word & 0x1E6 == (row.depths.root == 3 ? 0 : 0x26))
      #expect(one.isClear(one.target(word)) == false)
    }
  }

  @Test(
    "SME without nested paging: the PAE root is decrypted, its PDPTEs say encrypted (R8)",
    arguments: Design.allCases)
  func withoutNestedPaging(design: Design) throws {
    var one = try Self.bench(design, bit: 47)
    let state = registers(cr3: 0x40_0000)
    for index in 0..<4 as Range<UInt64> {
      one.bench.write(index << 22 | 0xE7, 4, at: 0x40_0000 + index * 0x400)
    }
    #expect(one.load(state) == .loaded)
    for index in 0..<4 as Range<UInt64> { #expect(one.fault(index << 30, .read, state) == .fixed) }
    let frame = one.rootFrame
    let root = try #require(frame)
    #expect(one.isClear(root) && FrameZone.below4G.contains(root))
    for word in one.rootWords()[..<4] {
      #expect(word >> 47 == 1 && word & 0x1E6 == 0)
      let software: UInt64 = design == .localPages ? 0x800 : 0
      #expect(word & 0xFFF == 1 | software)
    }
    // A flip leaves nothing of what the frame held before.
    #expect(one.rootWords()[4...].allSatisfy { $0 & 1 == 0 })
    one.end()
  }

  @Test(
    "row 14 with SME: nothing is decrypted, and upper entries are C, A, U, W, P (R9)",
    arguments: Design.allCases)
  func nested(design: Design) throws {
    var one = try Self.bench(design, bit: 47)
    let host = registers(cr3: 0x40_0000)
    one.bench.write(0xE7, 4, at: 0x40_0000)
    #expect(one.loadNested(host, levels: .level4) == .loaded)
    _ = one.fault(0, .read, host)
    let top = one.rootWords()[0]
    let pointer = one.words(one.target(top))[0]
    let software: UInt64 = design == .localPages ? 0x800 : 0
    #expect(top == one.target(top).address.raw | 1 << 47 | 0x27 | software)
    #expect(pointer == one.target(pointer).address.raw | 1 << 47 | 0x27 | software)
    #expect(one.clearFrames == 0)
    one.end()
  }

  @Test(
    "a processor of rows 1 to 3 that goes gives its root back encrypted (R10)",
    arguments: RootRow.own.filter(\.isSpecial), Design.allCases)
  func freed(row: RootRow, design: Design) throws {
    var one = try Self.bench(design, bit: 47)
    row.load(&one)
    let frame = one.rootFrame
    let root = try #require(frame)
    #expect(one.isClear(root) == true)
    one.free(.all)
    // Bare tables stay as they are until the processor goes; a local page goes at once.
    #expect(one.isClear(root) == (design == .tables))
    one.end()
    #expect(!one.isClear(root) && one.clearFrames == 0)
  }

  @Test(
    "tables that served PAE paging are encrypted again for nested CR3, and the other way round",
    arguments: Design.allCases)
  func otherMode(design: Design) throws {
    var one = try Self.bench(design, bit: 47)
    let state = registers(cr3: 0x40_0000)
    one.bench.write(0xE7, 4, at: 0x40_0000)
    for _ in 0..<2 {
      #expect(one.load(state) == .loaded && one.fault(0, .read, state) != .retry)
      #expect(one.rootFrame.map { one.isClear($0) } == true)
      #expect(one.clearFrames == Self.clearCount(design))
      one.free(.all)
      #expect(one.loadNested(state, levels: .level4) == .loaded)
      #expect(one.fault(0, .read, state) != .retry && one.clearFrames == 0)
      let pointers = one.words(one.target(one.rootWords()[0]))
      #expect(pointers[0] & 1 == 1 && pointers[4...].allSatisfy { $0 & 1 == 0 })
      one.free(.all)
    }
    one.end()
  }

  @Test(
    "the dummy that stands in for a root has the form that CR3 can say", arguments: Design.allCases)
  func dummy(design: Design) throws {
    var one = try Self.bench(design, bit: 47)
    let short = registers(cr3: 0x4000_0000)
    let long = registers(pae: true, long: true, cr3: 0x4000_0000)
    for state in [long, short, long, short] {
      #expect(one.load(state) == .loaded && one.state.root == .dummy)
      let isShort = state == short
      #expect(one.rootFrame.map { one.isClear($0) } == isShort)
      #expect(one.rootWords().allSatisfy { $0 == 0 })
      one.free(.all)
    }
    one.end()
    #expect(one.clearFrames == 0)
  }

  @Test("a host without encryption decrypts nothing", arguments: Design.allCases)
  func without(design: Design) throws {
    for row in RootRow.own + RootRow.nested {
      var one = try RootBench(design)
      row.load(&one)
      #expect(one.clearFrames == 0)
      one.end()
    }
  }
}
