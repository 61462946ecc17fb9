import HardwareModel
import HostMemory
import PagingUnits
import Testing

/// Sub-page write permissions in the processor (SDM volume 3C, "Sub-Page Write Permissions").
@Suite("Sub-page write permissions")
struct SubpageTests {
  /// What a data write to a page that may be read and executed says of itself.
  static let violation: UInt64 = 0x1AA
  static let miss: UInt64 = 0x800
  static let everything: UInt64 = 0x5555_5555_5555_5555

  // MARK: S6 to S17: which bytes

  /// One store: the vectors of the pages at 0x5000 and 0x6000, where, how many bytes, and the page
  /// that refuses.
  struct Store: CustomTestStringConvertible {
    var id: String
    var first: UInt64
    /// `nil` for an ordinary page that may be written, `.max` for one that may not be.
    var second: UInt64?
    var address: UInt64
    var count: UInt64
    var refusing: UInt64?
    var testDescription: String { "\(id) at \(String(address, radix: 16))" }

    init(
      _ id: String, _ first: UInt64, _ second: UInt64? = nil, at address: UInt64,
      _ count: UInt64 = 1, refusing: UInt64? = nil
    ) {
      self.id = id
      self.first = first
      self.second = second
      self.address = address
      self.count = count
      self.refusing = refusing
    }
  }

  static let stores = [
    Store("S7", 0, at: 0x5000, refusing: 0x5000),
    Store("S8", 0x4, at: 0x5080),
    Store("S8", 0x4, at: 0x507F, refusing: 0x507F),
    Store("S8", 0x4, at: 0x5100, refusing: 0x5100),
    Store("S9", 1 << 62, at: 0x5F80),
    Store("S9", 1 << 62, at: 0x5F7F, refusing: 0x5F7F),
    Store("S9", 1 << 62, at: 0x5FFF),
    Store("S10", 0x1, at: 0x5078, 8),
    Store("S10", 0x1, at: 0x507C, 8, refusing: 0x507C),
    Store("S11", 0x5, at: 0x507C, 8),
    Store("S12", 0x1, at: 0x507F, 2, refusing: 0x507F),
    Store("S13", 0x10, at: 0x50C0, 64, refusing: 0x50C0),
    Store("S13", 0x10, at: 0x5100, 64),
    Store("S14", 1 << 62, at: 0x5FFC, 8),
    Store("S15", 0, at: 0x5FFC, 8, refusing: 0x5FFC),
    Store("S16", everything, .max, at: 0x5FFC, 8, refusing: 0x6000),
    Store("S17", 1 << 62, 1, at: 0x5FFC, 8),
    Store("S17", 1 << 62, 4, at: 0x5FFC, 8, refusing: 0x6000),
  ]

  @Test(
    "a store goes through whole, when every sub-page that it touches is open, or not at all",
    arguments: stores, SubpageWorld.Paging.allCases)
  func store(_ store: Store, _ paging: SubpageWorld.Paging) throws {
    let bench = try SubpageWorld(paging)
    bench.vector = store.first
    switch store.second {
    case nil: bench.map(0x6000, 0x37)
    case .max: bench.map(0x6000, 0x35)
    case let vector?:
      bench.map(0x6000, SubpageWorld.guarded)
      bench[0x6000, 1] = vector
    }
    let outcome = bench.store(store.address, store.count)
    let written = (store.address..<store.address + store.count).map(bench.byte)
    if let refusing = store.refusing {
      #expect(
        outcome
          == .exit(
            .eptViolation(
              qualification: Self.violation, GuestPhysical(refusing),
              linear: GuestVirtual(refusing))))
      #expect(written.allSatisfy { $0 == 0 })
    } else {
      #expect(outcome == nil)
      #expect(written.allSatisfy { $0 == 0xA5 })
    }
    #expect(bench.byte(store.address - 1) == 0 && bench.byte(store.address + store.count) == 0)
  }

  // S6
  @Test("with every sub-page open each byte of the page is written without an exit")
  func everyByte() throws {
    let bench = try SubpageWorld()
    bench.vector = Self.everything
    for address in 0x5000..<0x6000 as Range<UInt64> {
      #expect(bench.store(address) == nil)
      #expect(bench.byte(address) == 0xA5)
    }
  }

  // MARK: S18 to S27: the tables

  /// An entry of the tables, and the qualification of the exit that a store to 0x5000 comes to.
  struct Table: CustomTestStringConvertible {
    var id: String
    var entries: [(depth: Int, bits: UInt64)]
    /// Whether the bits replace the entry; else they join it.
    var replaces = true
    var qualification: UInt64
    var testDescription: String { id }
  }

  static let spoilt = [
    Table(id: "S18", entries: [(4, 0)], qualification: miss),
    Table(id: "S19, level 3", entries: [(3, 0)], qualification: miss),
    Table(id: "S19, level 2", entries: [(2, 0)], qualification: miss),
    Table(id: "S20", entries: [(2, 0x1234_5000 | 1 << 5 | 1 << 60)], qualification: miss),
    Table(id: "S24", entries: [(1, 0x5555_5555_5555_5557)], qualification: 0),
    Table(id: "S25", entries: [(1, 1 << 63)], qualification: 0),
    Table(id: "S26", entries: [(2, .max), (4, 0)], qualification: miss),
  ]

  /// S21 to S23 among them: every reserved bit of every level, MAXPHYADDR being 46.
  static let reserved = (2...4).flatMap { depth in
    (Array(1...11) + Array(46...63)).map { (bit: UInt64) in
      Table(
        id: "reserved bit \(bit) of level \(depth)", entries: [(depth, 1 << bit)],
        replaces: false, qualification: 0)
    }
  }

  /// S24 and S25 among them: every odd bit, beside sub-pages that are all open.
  static let odd = (0..<32 as Range<UInt64>).map { subpage in
    let bit = 2 * subpage + 1
    return Table(id: "odd bit \(bit)", entries: [(1, everything | 1 << bit)], qualification: 0)
  }

  @Test(
    "tables without a vector are a miss, malformed ones a misconfiguration",
    arguments: spoilt + reserved + odd)
  func table(_ table: Table) throws {
    let bench = try SubpageWorld()
    bench.vector = Self.everything
    // Places first: an entry that is spoilt leads nowhere.
    let places = table.entries.map { bench.place(SubpageWorld.page, $0.depth) }
    for (place, entry) in zip(places, table.entries) {
      let old = table.replaces ? 0 : bench.world.memory.entry(at: place)
      bench.world.memory.setEntry(old | entry.bits, at: place)
    }
    #expect(
      bench.access(0x5008, .write, 8)
        == .exit(
          .subpageEvent(
            qualification: table.qualification, GuestPhysical(0x5008),
            linear: GuestVirtual(0x5008))))
    // S32
    #expect(bench.access(0x5008, .read, 8).translation != nil)
    #expect(bench.access(0x5008, .fetch).translation != nil)
  }

  @Test("a frame bit that MAXPHYADDR covers is not reserved", arguments: [12, 30, 45])
  func frameBits(_ bit: Int) throws {
    let bench = try SubpageWorld()
    bench.vector = Self.everything
    let old = bench[SubpageWorld.page, 4]
    bench[SubpageWorld.page, 4] = old ^ 1 << UInt64(bit)
    // What lies there is something else: nothing, or no memory, which reads as all ones.
    let qualification = bench.access(0x5000, .write).subpageQualification
    #expect(qualification == (bit < 30 ? Self.miss : 0))
  }

  // S27
  @Test("a vector of zeros refuses, and is no miss", arguments: 0..<32 as Range<UInt64>)
  func zeros(_ subpage: UInt64) throws {
    let bench = try SubpageWorld()
    #expect(bench.access(0x5000 + subpage * 128, .write).qualification == Self.violation)
  }

  /// Where an address has its entries and its bit.
  struct Indices: CustomTestStringConvertible {
    var address: UInt64
    /// Of levels 4 to 1.
    var indices: [UInt64]
    var subpage: UInt64
    var testDescription: String { "0x" + String(address, radix: 16) }

    init(_ address: UInt64, _ indices: [UInt64], _ subpage: UInt64) {
      self.address = address
      self.indices = indices
      self.subpage = subpage
    }
  }

  static let indices = [
    Indices(0, [0, 0, 0, 0], 0), Indices(0x1000, [0, 0, 0, 1], 0),
    Indices(0x3F_FFFF, [0, 0, 1, 0x1FF], 31), Indices(0x1000_0080, [0, 0, 0x80, 0], 1),
    Indices(0x4000_0000, [0, 1, 0, 0], 0), Indices(0x7000_0F80, [0, 1, 0x180, 0], 31),
    Indices(0x80_0000_0000, [1, 0, 0, 0], 0),
    Indices(0x1234_5678_9A80, [0x24, 0xD1, 0xB3, 0x189], 21),
    Indices(0xFFFF_FFFF_FFFF, [0x1FF, 0x1FF, 0x1FF, 0x1FF], 31),
  ]

  @Test("an address has the entries of the table of examples, and no other", arguments: indices)
  func entries(_ example: Indices) {
    var read: [UInt64] = []
    let ruling = SubpagePermission.ruling(
      on: SubpageRequest(
        GuestPhysical(example.address), byteCount: 1, .write, .linear,
        leaf: SubpageWorld.guarded, level: .page4K, rights: 0b101),
      pointer: 0x10_0000, physicalBits: 46
    ) { place in
      read.append(place.raw)
      // Each table lies a page behind the one above; the vector has the one bit.
      return read.count == 4
        ? 1 << (2 * example.subpage) : 0x10_0000 + UInt64(read.count) * 0x1000 | 1
    }
    let places = example.indices.enumerated().map {
      0x10_0000 + UInt64($0.offset) * 0x1000 + $0.element * 8
    }
    #expect(read == places)
    #expect(ruling == .granted(vector: 1 << (2 * example.subpage)))
  }

  // S46
  @Test("the index comes from bits 47 to 12 of the address, the sub-page from bits 11 to 7")
  func index() throws {
    let paged = try SubpageWorld()
    let far: UInt64 = 0x1234_5678_9A80
    paged.world[0x9000, 1] = far & ~0xFFF | 0x67
    paged.world[second: far, 1] = 0x1000_5000 | SubpageWorld.guarded
    #expect(paged.place(far, 4).raw & 0xFFF == 0x120)
    #expect(paged.place(far, 3).raw & 0xFFF == 0x688)
    #expect(paged.place(far, 2).raw & 0xFFF == 0x598)
    #expect(paged.place(far, 1).raw & 0xFFF == 0xC48)
    paged[far, 1] = 1 << 42
    #expect(paged.access(0x9A80, .write).translation?.guestPhysical == GuestPhysical(far))
    #expect(paged.access(0x9A7F, .write).qualification == Self.violation)
  }
}
