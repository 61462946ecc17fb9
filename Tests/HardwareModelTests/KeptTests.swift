import HardwareModel
import HostMemory
import PagingUnits
import Testing

/// A world with a processor that keeps, and pages that can be moved behind its back.
private final class Keeper {
  let world: World
  var processor: Processor

  init(_ mode: World.Mode = .fourLevel, _ second: World.Second = .none) throws {
    world = try World(mode, second)
    world.registers.cr4 |= 1 << 7
    processor = world.processor {
      $0.translationSets = 16
      $0.keepsWalks = true
    }
  }

  func space(_ pcid: UInt16) {
    world.registers.cr4 |= 1 << 17
    world.registers.cr3 = world.registers.cr3 & ~0xFFF | UInt64(pcid)
  }

  func map(_ linear: UInt64, to page: UInt64, flags: UInt64 = 0x67) {
    world[linear, 1] = page | flags
    guard world.second != .none else { return }
    if world[second: page, 1] == 0 { world.mapSecond(page, to: page + world.delta) }
  }

  /// The guest-physical page that an address seems to be at.
  func page(_ linear: UInt64) -> UInt64? {
    processor.translate(
      GuestVirtual(linear), .read, .supervisor, world.registers, through: world.dimension
    ).translation?.guestPhysical.raw
  }

  func invalidate(_ what: Invalidation) { processor.invalidate(what, world.registers) }
}

@Suite("What a processor keeps, and forgets")
struct KeptTests {
  private static let old: UInt64 = 0x80_0000
  private static let new: UInt64 = 0x90_0000
  private static let here: UInt64 = 0x20_3000
  private static let there: UInt64 = 0x7000_4000

  /// Which of eight translations an invalidation takes: here and there, in PCIDs 1 and 2, plain and
  /// global, all made under the identifier 5 or some other.
  private func survivors(
    _ what: Invalidation, identifier: UInt16 = 5, second: World.Second = .none,
    current: UInt16 = 1
  ) throws -> Set<String> {
    let keeper = try Keeper(.fourLevel, second)
    let cases: [(String, UInt64, UInt16, UInt64)] = [
      ("here in 1", Self.here, 1, 0), ("here in 2", Self.here + 0x1000, 2, 0),
      ("global here in 1", Self.here + 0x2000, 1, 0x100),
      ("global here in 2", Self.here + 0x3000, 2, 0x100),
      ("there in 1", Self.there, 1, 0), ("there in 2", Self.there + 0x1000, 2, 0),
      ("global there in 2", Self.there + 0x2000, 2, 0x100),
    ]
    keeper.processor.identifier = identifier
    for (_, linear, pcid, flags) in cases {
      keeper.space(pcid)
      keeper.map(linear, to: Self.old, flags: 0x67 | flags)
      #expect(keeper.page(linear) == Self.old)
    }
    for (_, linear, _, flags) in cases { keeper.map(linear, to: Self.new, flags: 0x67 | flags) }
    keeper.space(current)
    keeper.processor.identifier = 5
    keeper.invalidate(what)
    keeper.processor.identifier = identifier
    var survivors: Set<String> = []
    for (name, linear, pcid, _) in cases {
      keeper.space(pcid)
      let page = keeper.page(linear)
      #expect(page == Self.old || page == Self.new)
      if page == Self.old { survivors.insert(name) }
    }
    return survivors
  }

  private let everyone: Set = [
    "here in 1", "here in 2", "global here in 1", "global here in 2", "there in 1", "there in 2",
    "global there in 2",
  ]
  private var globals: Set<String> { everyone.filter { $0.hasPrefix("global") } }

  @Test("a translation stays until it is invalidated")
  func stale() throws {
    #expect(try survivors(.linearAddress(GuestVirtual(0x1234_5000))) == everyone)
  }

  @Test("INVLPG takes one address of the current PCID, and the global one of any")
  func invalidatePage() throws {
    #expect(
      try survivors(.linearAddress(GuestVirtual(Self.here + 5)))
        == everyone.subtracting(["here in 1"]))
    // Not of another PCID.
    #expect(try survivors(.linearAddress(GuestVirtual(Self.here + 0x1000))) == everyone)
    for current in [1, 2] as [UInt16] {
      #expect(
        try survivors(.linearAddress(GuestVirtual(Self.here + 0x3000)), current: current)
          == everyone.subtracting(["global here in 2"]))
    }
  }

  @Test("INVPCID takes an address, a space, everything, and everything but global ones")
  func invalidatePCID() throws {
    #expect(
      try survivors(.linearAddressIn(pcid: 2, GuestVirtual(Self.here + 0x1000)))
        == everyone.subtracting(["here in 2"]))
    #expect(
      try survivors(.linearAddressIn(pcid: 2, GuestVirtual(Self.here + 0x3000))) == everyone)
    #expect(
      try survivors(.space(pcid: 2)) == everyone.subtracting(["here in 2", "there in 2"]))
    #expect(try survivors(.allLinear).isEmpty)
    #expect(try survivors(.allSpaces) == globals)
  }

  @Test("a MOV to CR3 takes the current space but its global translations")
  func moveToCR3() throws {
    #expect(try survivors(.currentSpace) == everyone.subtracting(["here in 1", "there in 1"]))
    #expect(
      try survivors(.currentSpace, current: 2) == everyone.subtracting(["here in 2", "there in 2"]))
  }

  @Test("a guest's instructions leave the translations of other VPIDs alone")
  func otherIdentifiers() throws {
    for what: Invalidation in [
      .linearAddress(GuestVirtual(Self.here)), .linearAddressIn(pcid: 1, GuestVirtual(Self.here)),
      .space(pcid: 1), .currentSpace, .allSpaces, .allLinear,
    ] {
      #expect(try survivors(what, identifier: 6) == everyone, "\(what)")
    }
  }

  @Test("INVVPID takes an address, an identifier, all but 0, and all but global ones")
  func invalidateVPID() throws {
    let here = GuestVirtual(Self.here + 0x3000)
    for identifier in [5, 6] as [UInt16] {
      #expect(
        try survivors(.linearAddressOf(identifier: identifier, here), identifier: identifier)
          == everyone.subtracting(["global here in 2"]))
      #expect(try survivors(.identifier(identifier), identifier: identifier).isEmpty)
      #expect(
        try survivors(.identifierExceptGlobal(identifier), identifier: identifier) == globals)
      #expect(try survivors(.identifier(identifier ^ 3), identifier: identifier) == everyone)
      #expect(try survivors(.allIdentifiers, identifier: identifier).isEmpty)
    }
    #expect(try survivors(.allIdentifiers, identifier: 0) == everyone)
  }

  @Test("INVEPT takes what came through a root, and nothing that came through none")
  func invalidateEPT() throws {
    #expect(try survivors(.root(.ept(eptp: 0x1234_5000 | 0x5E)), second: .ept4) == everyone)
    #expect(try survivors(.allRoots, second: .ept4).isEmpty)
    #expect(try survivors(.allRoots) == everyone)
    #expect(try survivors(.everything).isEmpty)
    #expect(try survivors(.everything, second: .npt4).isEmpty)
    let keeper = try Keeper(.fourLevel, .ept4)
    keeper.map(Self.here, to: Self.old)
    #expect(keeper.page(Self.here) == Self.old)
    keeper.map(Self.here, to: Self.new)
    #expect(keeper.page(Self.here) == Self.old)
    keeper.invalidate(.root(keeper.world.dimension))
    #expect(keeper.page(Self.here) == Self.new)
  }

  @Test("a guest-physical translation outlives the guest's own invalidations")
  func guestPhysical() throws {
    let keeper = try Keeper(.fourLevel, .ept4)
    let world = keeper.world
    func host() -> UInt64? {
      keeper.processor.translate(
        guestPhysical: GuestPhysical(Self.old), .read, through: world.dimension
      ).translation?.hostPhysical.raw
    }
    world.mapSecond(Self.old, to: 0x3000_0000)
    #expect(host() == 0x3000_0000)
    world.mapSecond(Self.old, to: 0x3100_0000)
    for what: Invalidation in [
      .linearAddress(GuestVirtual(Self.old)), .allLinear, .identifier(0), .root(.ept(eptp: 0x5E)),
    ] {
      keeper.invalidate(what)
      #expect(host() == 0x3000_0000)
    }
    keeper.invalidate(.root(world.dimension))
    #expect(host() == 0x3100_0000)
  }

  @Test("global pages are global only with CR4.PGE, and never where the leaf does not say so")
  func globalPages() throws {
    for usesGlobals in [false, true] {
      let keeper = try Keeper()
      if !usesGlobals { keeper.world.registers.cr4 &= ~(1 << 7) }
      keeper.space(1)
      keeper.map(Self.here, to: Self.old, flags: 0x167)
      #expect(keeper.page(Self.here) == Self.old)
      keeper.map(Self.here, to: Self.new, flags: 0x167)
      keeper.space(2)
      #expect(keeper.page(Self.here) == (usesGlobals ? Self.old : Self.new))
    }
  }

  @Test("INVLPG of any address of a large page takes every part of it that is kept")
  func partsOfLargePages() throws {
    for (mode, bytes) in [(World.Mode.fourLevel, 0x20_0000), (.bits32, 0x40_0000)]
      as [(World.Mode, UInt64)]
    {
      let keeper = try Keeper(mode, .ept4)
      let world = keeper.world
      world[0x80_0000, 2] = 0x4080_00E7
      let offsets: [UInt64] = [0, 0x5000, bytes - 0x1000]
      for offset in offsets { world.mapSecond(0x4080_0000 + offset, to: 0x1800_0000 + offset) }
      for offset in offsets { #expect(keeper.page(0x80_0000 + offset) == 0x4080_0000 + offset) }
      world[0x80_0000, 2] = 0
      for offset in offsets { #expect(keeper.page(0x80_0000 + offset) == 0x4080_0000 + offset) }
      keeper.invalidate(.linearAddress(GuestVirtual(0x80_7000)))
      for offset in offsets { #expect(keeper.page(0x80_0000 + offset) == nil) }
    }
  }

  @Test("a fault that something kept had a part in is asked of the tables first")
  func noStaleFault() throws {
    let keeper = try Keeper()
    let world = keeper.world
    func write(_ linear: UInt64) -> HardwareOutcome {
      keeper.processor.translate(
        GuestVirtual(linear), .write, .user, world.registers, through: .none)
    }
    keeper.map(Self.here, to: Self.old)
    keeper.map(Self.here + 0x1000, to: Self.old)
    // A table is kept as read-only; then the entry above it grants writing again.
    world[Self.here, 2] &= ~2
    #expect(keeper.page(Self.here) == Self.old)
    world[Self.here, 2] |= 2
    #expect(write(Self.here).translation != nil)
    #expect(write(Self.here + 0x1000).translation != nil)
    // And a fault that the tables do ask for leaves nothing behind.
    world[Self.here, 1] = 0
    keeper.invalidate(.linearAddress(GuestVirtual(Self.here)))
    #expect(write(Self.here).errorCode == 6)
    keeper.map(Self.here, to: Self.new)
    #expect(write(Self.here).translation?.guestPhysical == GuestPhysical(Self.new))
  }

  @Test("an exit forgets what was kept of the guest-physical page")
  func exitForgets() throws {
    let keeper = try Keeper(.fourLevel, .ept4)
    let world = keeper.world
    func access(_ kind: AccessKind) -> HardwareOutcome {
      keeper.processor.translate(
        guestPhysical: GuestPhysical(Self.old), kind, through: world.dimension)
    }
    world.mapSecond(Self.old, to: 0x3000_0000)
    #expect(access(.read).translation?.hostPhysical == HostPhysical(0x3000_0000))
    world[second: Self.old, 1] = 0x3100_0031
    #expect(access(.read).translation?.hostPhysical == HostPhysical(0x3000_0000))
    #expect(access(.write).qualification == 2 | 1 << 3)
    #expect(access(.read).translation?.hostPhysical == HostPhysical(0x3100_0000))
  }

  @Test("extended page tables are told apart by their root, nested ones are not")
  func roots() throws {
    for (second, isTold) in [(World.Second.ept4, true), (.npt4, false)] {
      let keeper = try Keeper(.off, second)
      let world = keeper.world
      world.mapSecond(Self.old, to: 0x3000_0000)
      let other = world.hostFrame()
      let dimension: SecondDimension =
        second == .ept4 ? .ept(eptp: other | 0x5E) : .npt(ncr3: other, levels: .four)
      #expect(keeper.page(Self.old) == Self.old)
      let outcome = keeper.processor.translate(
        GuestVirtual(Self.old), .read, .supervisor, world.registers, through: dimension)
      #expect((outcome.exitAddress == Self.old) == isTold)
    }
  }

  @Test("one mode's translations serve no other")
  func modes() throws {
    let keeper = try Keeper()
    keeper.map(Self.here, to: Self.old)
    #expect(keeper.page(Self.here) == Self.old)
    keeper.world.registers.cr0 &= ~(1 << 31)
    #expect(keeper.page(Self.here) == Self.here)
    keeper.world.registers.cr0 |= 1 << 31
    #expect(keeper.page(Self.here) == Self.old)
  }

  @Test("what is kept can be looked at, and given up at any time")
  func enumeration() throws {
    let keeper = try Keeper(.fourLevel, .ept4)
    keeper.space(7)
    keeper.processor.identifier = 9
    keeper.map(Self.here, to: Self.old, flags: 0x127)
    #expect(keeper.page(Self.here) == Self.old)
    let places = (0..<keeper.processor.capacity).filter {
      keeper.processor.keptTranslation(in: $0) != nil
    }
    #expect(places.count == 1)
    let kept = places.first.flatMap { keeper.processor.keptTranslation(in: $0) }
    #expect(kept?.linear == GuestVirtual(Self.here))
    #expect(kept?.guestPhysical == GuestPhysical(Self.old))
    #expect(kept?.hostPhysical == keeper.world.host(of: Self.old))
    #expect(kept?.level == .page4K)
    #expect(kept?.isWritable == false)
    #expect(kept?.isExecutable == true)
    #expect(kept?.isGlobal == true)
    #expect(kept?.pcid == 7)
    #expect(kept?.identifier == 9)
    #expect(kept?.root == HostPhysical(keeper.world.secondRoot))
    for place in places { keeper.processor.evict(place) }
    keeper.map(Self.here, to: Self.new)
    #expect(keeper.page(Self.here) == Self.new)
  }

  @Test("a full set gives up one translation and finds the rest")
  func capacity() throws {
    let world = try World(.fourLevel)
    var processor = world.processor { $0.translationSets = 1 }
    for index in 0..<16 as Range<UInt64> {
      let linear = Self.here + index * 0x1000
      world[linear, 1] = Self.old + index * 0x1000 | 0x67
      _ = processor.translate(
        GuestVirtual(linear), .read, .user, world.registers, through: .none)
      let kept = (0..<4).compactMap { processor.keptTranslation(in: $0)?.linear.raw }
      #expect(kept.count == Int(min(index + 1, 4)))
      #expect(Set(kept).count == kept.count)
      #expect(kept.contains(linear))
    }
  }
}
