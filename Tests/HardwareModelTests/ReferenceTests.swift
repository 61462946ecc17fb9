import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("References to memory")
struct ReferenceTests {
  private static let linear: UInt64 = 0x20_3000

  private func world(_ mode: World.Mode, _ second: World.Second) throws -> World {
    let world = try World(mode, second)
    if mode != .off { world[Self.linear, 1] = 0x80_0067 }
    let page: UInt64 = mode == .off ? Self.linear : 0x80_0000
    if second != .none { world.mapSecond(page, to: page + world.delta) }
    return world
  }

  @Test("a 4-level guest over 4-level EPT costs 24 references")
  func twentyFour() throws {
    let world = try world(.fourLevel, .ept4)
    var processor = world.processor()
    let outcome = processor.translate(
      GuestVirtual(Self.linear), .read, .user, world.registers, through: world.dimension)
    #expect(outcome.translation != nil)
    #expect(processor.counters.guestReferences == 4)
    #expect(processor.counters.secondReferences == 20)
  }

  @Test(
    "every guest level and the page itself cost a walk of the second dimension",
    arguments: World.Mode.allCases, World.Second.allCases)
  func product(mode: World.Mode, second: World.Second) throws {
    let world = try world(mode, second)
    var processor = world.processor()
    // The PDPTE registers cost nothing; under NPT there are none.
    let isNested = second == .npt4 || second == .npt5
    let guest = world.topDepth + (mode == .pae && isNested ? 1 : 0)
    for round in 1...3 as ClosedRange<UInt64> {
      let outcome = processor.translate(
        GuestVirtual(Self.linear), .read, .user, world.registers, through: world.dimension)
      #expect(outcome.translation != nil)
      #expect(processor.counters.guestReferences == round * UInt64(guest))
      let walks = second == .none ? 0 : (guest + 1) * world.secondDepth
      #expect(processor.counters.secondReferences == round * UInt64(walks))
      #expect(processor.counters.misses == round)
    }
    #expect(processor.counters.hits == 0)
    #expect(processor.counters.walkHits == 0)
    processor.resetCounters()
    #expect(processor.counters == HardwareCounters())
  }

  @Test("large pages of either dimension save a reference a level")
  func largePages() throws {
    for guestLeaf in 1...3 {
      for secondLeaf in 1...3 {
        let world = try World(.fourLevel, .ept4)
        world[0x4000_0000, guestLeaf] = 0x4000_0067 | (guestLeaf > 1 ? 1 << 7 : 0)
        world.mapSecond(0x4000_0000, to: 0x8000_0000, depth: secondLeaf)
        var processor = world.processor()
        let outcome = processor.translate(
          GuestVirtual(0x4000_0000), .read, .user, world.registers, through: world.dimension)
        #expect(outcome.translation?.hostPhysical == HostPhysical(0x8000_0000))
        let tables = 5 - guestLeaf
        #expect(processor.counters.guestReferences == UInt64(tables))
        #expect(processor.counters.secondReferences == UInt64(tables * 4 + 5 - secondLeaf))
      }
    }
  }

  @Test("a kept translation costs none, and a kept table saves those above it")
  func kept() throws {
    let world = try world(.fourLevel, .none)
    world[Self.linear + 0x1000, 1] = 0x90_0067
    world[Self.linear + 0x40_0000, 1] = 0xA0_0067
    var processor = world.processor {
      $0.translationSets = 4
      $0.keepsWalks = true
    }
    func cost(_ linear: UInt64) -> UInt64 {
      let before = processor.counters.guestReferences
      let outcome = processor.translate(
        GuestVirtual(linear), .read, .user, world.registers, through: .none)
      #expect(outcome.translation != nil)
      return processor.counters.guestReferences - before
    }
    #expect(cost(Self.linear) == 4)
    #expect(cost(Self.linear) == 0)
    #expect(processor.counters.hits == 1)
    #expect(cost(Self.linear + 0x1000) == 1)
    #expect(cost(Self.linear + 0x40_0000) == 2)
    #expect(processor.counters.walkHits == 2)
    // A table that a shortened walk found is kept like any other.
    world[Self.linear + 0x40_1000, 1] = 0xB0_0067
    #expect(cost(Self.linear + 0x40_1000) == 1)
  }

  @Test("the second dimension's walks are kept by guest-physical page")
  func keptSecond() throws {
    let world = try world(.fourLevel, .ept4)
    var processor = world.processor { $0.keepsWalks = true }
    func cost(_ address: UInt64, _ kind: AccessKind) -> UInt64 {
      let before = processor.counters.secondReferences
      let outcome = processor.translate(
        guestPhysical: GuestPhysical(address), kind, through: world.dimension)
      #expect(outcome.translation?.hostPhysical == world.host(of: address))
      return processor.counters.secondReferences - before
    }
    #expect(cost(0x80_0010, .read) == 4)
    #expect(cost(0x80_0020, .fetch) == 0)
    // The page is clean, so that a write has to mark it.
    #expect(cost(0x80_0020, .write) == 4)
    #expect(cost(0x80_0020, .write) == 0)
  }
}
