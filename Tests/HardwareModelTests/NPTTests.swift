import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("Nested page tables")
struct NPTTests {
  private static let linear: UInt64 = 0x20_3000
  private static let page: UInt64 = 0x80_0000
  private static let final: UInt64 = 1 << 32
  private static let table: UInt64 = 1 << 33

  private func world(
    _ mode: World.Mode = .fourLevel, _ second: World.Second = .npt4
  ) throws -> World {
    let world = try World(mode, second)
    world[Self.linear, 1] = Self.page | 0x67
    world.mapSecond(Self.page, to: Self.page + world.delta)
    return world
  }

  @Test(
    "the code of a nested fault says what was tried, and where",
    arguments: [World.Second.npt4, .npt5])
  func errorCodes(second: World.Second) throws {
    let world = try world(.fourLevel, second)
    let whole = world[second: Self.page, 1]
    for (kind, bit) in [(AccessKind.read, 0), (.write, 2), (.fetch, 16)] as [(AccessKind, UInt64)] {
      // Not present: P is clear, and every access is a user access.
      world[second: Self.page, 1] = 0
      let absent = world.access(Self.linear + 8, kind)
      #expect(absent.nestedCode == 4 | bit | Self.final)
      #expect(absent.exitAddress == Self.page + 8)
      // Reserved.
      world[second: Self.page, 1] = whole | 1 << 51
      #expect(world.access(Self.linear, kind).nestedCode == 0xD | bit | Self.final)
      // A supervisor page is nobody's.
      world[second: Self.page, 1] = whole & ~4
      #expect(world.access(Self.linear, kind).nestedCode == 5 | bit | Self.final)
      world[second: Self.page, 1] = whole & ~2
      let readOnly = world.access(Self.linear, kind)
      #expect(readOnly.nestedCode == (kind == .write ? 7 | Self.final : nil))
      world[second: Self.page, 1] = whole | 1 << 63
      let noExecute = world.access(Self.linear, kind)
      #expect(noExecute.nestedCode == (kind == .fetch ? 0x15 | Self.final : nil))
      world[second: Self.page, 1] = whole
      #expect(world.access(Self.linear, kind).translation != nil)
    }
  }

  @Test("the walk of the guest's tables is a user write, whatever the access")
  func tablesAreWritten() throws {
    let world = try world()
    for depth in 1...4 {
      let place = world.place(Self.linear, depth)
      let whole = world[second: place, 1]
      for kind in AccessKind.allCases {
        world[second: place, 1] = 0
        #expect(world.access(Self.linear, kind).nestedCode == 6 | Self.table)
        world[second: place, 1] = whole & ~2
        let outcome = world.access(Self.linear, kind)
        #expect(outcome.nestedCode == 7 | Self.table)
        #expect(outcome.exitAddress == place)
        // A table may lie where nothing can be executed.
        world[second: place, 1] = whole | 1 << 63
        #expect(world.access(Self.linear, kind).translation != nil)
      }
      #expect(world[second: place, 1] & 0x60 == 0x60)
      world[second: place, 1] = whole
    }
  }

  @Test("exactly the manual's reserved bits fault, at every level", arguments: [4, 5])
  func reservedBits(levels: Int) throws {
    func run(_ range: ClosedRange<UInt64>) -> UInt64 { range.reduce(0) { $0 | 1 << $1 } }
    for bits in [36, 48, 52] as [UInt64] {
      for leaf in 1...3 {
        let world = try World(.off, levels == 5 ? .npt5 : .npt4)
        world.mapSecond(0, to: 0, depth: leaf)
        for depth in leaf...levels {
          let whole = world[second: 0, depth]
          let place = world.secondPlace(0, depth)
          var list: UInt64 = bits == 52 ? 0 : run(bits...51)
          if depth >= 4 { list |= run(7...8) }
          if depth == leaf && depth == 3 { list |= run(13...29) }
          if depth == leaf && depth == 2 { list |= run(13...20) }
          for bit in 3..<64 as Range<UInt64> where bit != 7 || depth >= 4 {
            // Another table is another world.
            if depth > leaf && bit >= 12 && bit < bits { continue }
            world.memory.setEntry(whole | 1 << bit, at: place)
            var processor = world.processor { $0.physicalBits = bits }
            let outcome = processor.translate(
              guestPhysical: GuestPhysical(0x123), .read, through: world.dimension)
            let isReserved = outcome.nestedCode == 0xD | Self.final
            #expect(
              isReserved == (list >> bit & 1 != 0), "bit \(bit) at level \(depth): \(outcome)")
            world.memory.setEntry(whole, at: place)
          }
        }
      }
    }
  }

  @Test("rights of every level count, and large pages reach as far as they say")
  func levels() throws {
    for leaf in 1...3 {
      let world = try World(.off, .npt5)
      let size = Level(leaf).byteCount
      world.mapSecond(size, to: 2 * size, depth: leaf)
      for depth in leaf...5 {
        let whole = world[second: size, depth]
        var processor = world.processor()
        func access(_ kind: AccessKind) -> HardwareOutcome {
          processor.translate(
            guestPhysical: GuestPhysical(size + 9), kind, through: world.dimension)
        }
        world[second: size, depth] = whole & ~2
        #expect(access(.write).nestedCode == 7 | Self.final)
        world[second: size, depth] = whole & ~4
        #expect(access(.read).nestedCode == 5 | Self.final)
        world[second: size, depth] = whole | 1 << 63
        #expect(access(.fetch).nestedCode == 0x15 | Self.final)
        #expect(access(.read).translation?.usable == [.read])
        world[second: size, depth] = whole
        #expect(access(.read).translation?.hostPhysical == HostPhysical(2 * size + 9))
        #expect(access(.read).translation?.level == Level(leaf))
      }
    }
  }

  @Test("accessed and dirty bits are set in the nested tables as in any")
  func marks() throws {
    let world = try World(.off, .npt4)
    world.mapSecond(0, to: 0, depth: 2)
    for kind in AccessKind.allCases {
      for depth in 2...4 { world[second: 0, depth] &= ~0x60 }
      var processor = world.processor()
      let outcome = processor.translate(
        guestPhysical: GuestPhysical(5), kind, through: world.dimension)
      #expect(outcome.translation?.usable.contains(.write) == (kind == .write))
      for depth in 2...4 {
        #expect(world[second: 0, depth] & 0x60 == (kind == .write && depth == 2 ? 0x60 : 0x20))
      }
    }
  }

  @Test("a PAE guest's PDPTEs are read from memory on each walk")
  func pdptes() throws {
    let world = try world(.pae)
    let place = world.host(of: world.registers.cr3)
    let entry = world.memory.entry(at: place)
    // The registers are no matter.
    world.registers.pdptes[0] = 0
    var processor = world.processor()
    func access() -> HardwareOutcome {
      processor.translate(
        GuestVirtual(Self.linear), .read, .user, world.registers, through: world.dimension)
    }
    #expect(access().translation?.guestPhysical == GuestPhysical(Self.page))
    #expect(processor.counters.guestReferences == 3)
    world.memory.setEntry(0, at: place)
    #expect(access().errorCode == 4)
    for bit in [1, 2, 5, 6, 7, 8, 46, 51, 52, 62, 63] as [UInt64] {
      world.memory.setEntry(entry | 1 << bit, at: place)
      #expect(access().errorCode == 0xD, "bit \(bit)")
    }
    for bit in [3, 4, 9, 10, 11] as [UInt64] {
      world.memory.setEntry(entry | 1 << bit, at: place)
      #expect(access().translation != nil, "bit \(bit)")
    }
    world.memory.setEntry(entry, at: place)
    world[second: world.registers.cr3, 1] = 0
    let outcome = access()
    #expect(outcome.nestedCode == 6 | Self.table)
    #expect(outcome.exitAddress == world.registers.cr3)
  }

  @Test("an address that the tables do not reach faults without P")
  func beyond() throws {
    for (second, bits) in [(World.Second.npt4, 48), (.npt5, 57)] as [(World.Second, UInt64)] {
      let world = try World(.off, second)
      world.mapSecond(0, to: 0)
      var processor = world.processor()
      let outcome = processor.translate(
        guestPhysical: GuestPhysical(1 << bits), .write, through: world.dimension)
      #expect(outcome.nestedCode == 6 | Self.final)
    }
  }
}
