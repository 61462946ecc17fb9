import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("Accessed and dirty bits of the guest's entries")
struct AccessedDirtyTests {
  private static let linear: UInt64 = 0x20_3000

  private func clear(_ world: World, leaf: Int) {
    for depth in leaf...world.topDepth { world[Self.linear, depth] &= ~0x60 }
  }

  @Test(
    "a permitted access marks every entry accessed, and a write the leaf alone dirty",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel], World.Second.allCases)
  func marks(mode: World.Mode, second: World.Second) throws {
    for leaf in 1...2 {
      let world = try World(mode, second)
      for page in [0x80_0000, 0xA0_0000] as [UInt64] where second != .none {
        world.mapSecond(page, to: page + world.delta, depth: 2)
      }
      world[Self.linear, leaf] = 0x80_0007 | (leaf > 1 ? 1 << 7 : 0)
      for kind in AccessKind.allCases {
        clear(world, leaf: leaf)
        let outcome = world.access(Self.linear, kind)
        #expect(outcome.translation != nil, "\(outcome)")
        #expect(outcome.translation?.usable.contains(.write) == (kind == .write))
        for depth in leaf...world.topDepth {
          let dirty: UInt64 = kind == .write && depth == leaf ? 0x60 : 0x20
          #expect(world[Self.linear, depth] & 0x60 == dirty, "\(kind) at level \(depth)")
        }
      }
    }
  }

  @Test(
    "an access that faults marks nothing",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel])
  func faultsMarkNothing(mode: World.Mode) throws {
    let world = try World(mode)
    world.registers.cr4 |= 1 << 20
    for leaf: UInt64 in [0x80_0005, 0x80_0003, 0x80_0006] {
      world[Self.linear, 1] = leaf
      clear(world, leaf: 1)
      #expect(world.access(Self.linear, .write, .user).errorCode != nil)
      for depth in 1...world.topDepth { #expect(world[Self.linear, depth] & 0x60 == 0) }
    }
    world[Self.linear, 1] = 0x80_0007
    clear(world, leaf: 1)
    #expect(world.access(Self.linear, .fetch).errorCode != nil)
    for depth in 1...world.topDepth { #expect(world[Self.linear, depth] & 0x60 == 0) }
  }

  @Test("a write that leaves the guest marks nothing in its tables")
  func exitsMarkNothing() throws {
    for second in [World.Second.ept4, .npt4] {
      let world = try World(.fourLevel, second)
      world[Self.linear, 1] = 0x80_0007
      clear(world, leaf: 1)
      #expect(world.access(Self.linear, .write).exitAddress == 0x80_0000)
      for depth in 1...4 { #expect(world[Self.linear, depth] & 0x60 == 0) }
    }
  }

  @Test("marking costs no reference and is counted entry by entry")
  func assists() throws {
    let world = try World(.fourLevel)
    world[Self.linear, 1] = 0x80_0007
    clear(world, leaf: 1)
    var processor = world.processor()
    func access(_ kind: AccessKind) {
      _ = processor.translate(
        GuestVirtual(Self.linear), kind, .supervisor, world.registers, through: .none)
    }
    access(.read)
    #expect(processor.counters.assists == 4)
    access(.write)
    #expect(processor.counters.assists == 5)
    access(.write)
    #expect(processor.counters.assists == 5)
    #expect(processor.counters.guestReferences == 12)
  }

  @Test("an entry that is its own table is marked although it changes under the walk")
  func selfReference() throws {
    // Index 0x1F0 at every level is one and the same entry: the first step of the marking changes
    // what the second expects, so the walk starts over.
    let world = try World(.fourLevel)
    let index: UInt64 = 0x1F0
    let linear = UInt64.max << 47 | index << 39 | index << 30 | index << 21 | index << 12
    let place = HostPhysical(world.root + index * 8)
    world.memory.setEntry(world.root | 7, at: place)
    let outcome = world.access(linear | 0x18, .write)
    #expect(outcome.translation?.guestPhysical == GuestPhysical(world.root | 0x18))
    #expect(world.memory.entry(at: place) == world.root | 0x67)
  }

  @Test("a dirty bit that is clear withholds writing from what is kept")
  func cleanPage() throws {
    let world = try World(.fourLevel)
    world[Self.linear, 1] = 0x80_0027
    var processor = world.processor {
      $0.translationSets = 4
      $0.keepsWalks = true
    }
    func access(_ kind: AccessKind) -> Translation? {
      processor.translate(
        GuestVirtual(Self.linear), kind, .user, world.registers, through: .none
      ).translation
    }
    #expect(access(.read)?.usable == [.read, .fetch])
    #expect(access(.read)?.usable == [.read, .fetch])
    #expect(processor.counters.hits == 1)
    #expect(access(.write)?.usable == [.read, .write, .fetch])
    #expect(processor.counters.hits == 1)
    #expect(world[Self.linear, 1] & 0x40 != 0)
    #expect(access(.write)?.usable == [.read, .write, .fetch])
    #expect(processor.counters.hits == 2)
  }
}
