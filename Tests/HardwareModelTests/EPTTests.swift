import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("Extended page tables")
struct EPTTests {
  private static let guest: UInt64 = 0x80_0000

  /// One access to a guest-physical address by a processor that keeps nothing.
  private func access(
    _ world: World, _ guest: UInt64, _ kind: AccessKind,
    _ change: (inout ProcessorFeatures) -> Void = { _ in }
  ) -> HardwareOutcome {
    var processor = world.processor(change)
    return processor.translate(
      guestPhysical: GuestPhysical(guest), kind, through: world.dimension)
  }

  @Test("every combination of rights of two levels permits what both permit, and says so")
  func rights() throws {
    let world = try World(.off, .ept4)
    world.mapSecond(Self.guest, to: 0x5000_0000)
    let leaf = world[second: Self.guest, 1] & ~7
    let table = world[second: Self.guest, 2] & ~7
    for upper in 0..<8 as Range<UInt64> {
      for lower in 0..<8 as Range<UInt64> {
        for hasExecuteOnly in [false, true] {
          world[second: Self.guest, 2] = table | upper
          world[second: Self.guest, 1] = leaf | lower
          for (kind, right) in [(AccessKind.read, 1), (.write, 2), (.fetch, 4)]
            as [(AccessKind, UInt64)]
          {
            let outcome = access(world, Self.guest, kind) { $0.hasExecuteOnly = hasExecuteOnly }
            func isSenseless(_ rights: UInt64) -> Bool {
              [2, 6].contains(rights) || (rights == 4 && !hasExecuteOnly)
            }
            let name = "\(upper) above \(lower), \(kind), execute-only \(hasExecuteOnly)"
            if upper == 0 {
              #expect(outcome.qualification == right, "\(name)")
            } else if isSenseless(upper) {
              #expect(outcome == .exit(.eptMisconfiguration(GuestPhysical(Self.guest))), "\(name)")
            } else if lower == 0 {
              #expect(outcome.qualification == right, "\(name)")
            } else if isSenseless(lower) {
              #expect(outcome == .exit(.eptMisconfiguration(GuestPhysical(Self.guest))), "\(name)")
            } else if upper & lower & right == 0 {
              #expect(outcome.qualification == right | (upper & lower) << 3, "\(name)")
            } else {
              #expect(outcome.translation?.hostPhysical == HostPhysical(0x5000_0000), "\(name)")
              var usable: Translation.Usable = []
              if upper & lower & 1 != 0 { usable.insert(.read) }
              if upper & lower & 2 != 0 && kind == .write { usable.insert(.write) }
              if upper & lower & 4 != 0 { usable.insert(.fetch) }
              // The bits of the leaf are as the access before left them.
              #expect(outcome.translation?.usable.subtracting(.write) == usable.subtracting(.write))
              if kind == .write { #expect(outcome.translation?.usable == usable, "\(name)") }
            }
          }
        }
      }
    }
  }

  @Test("exactly the manual's reserved bits misconfigure, at every level", arguments: [4, 5])
  func reservedBits(levels: Int) throws {
    func run(_ range: ClosedRange<UInt64>) -> UInt64 { range.reduce(0) { $0 | 1 << $1 } }
    for bits in [36, 46, 52] as [UInt64] {
      for leaf in 1...3 {
        let world = try World(.off, levels == 5 ? .ept5 : .ept4)
        world.mapSecond(0, to: 0, depth: leaf)
        for depth in leaf...levels {
          let whole = world[second: 0, depth]
          let place = world.secondPlace(0, depth)
          var list: UInt64 = bits == 52 ? 0 : run(bits...51)
          switch (depth, depth == leaf) {
          case (4, _), (5, _): list |= run(3...7)
          case (3, false), (2, false): list |= run(3...6)
          case (3, true): list |= run(12...29)
          case (2, true): list |= run(12...20)
          default: break
          }
          for bit in 3..<64 as Range<UInt64> where bit != 7 || depth >= 4 {
            // The leaf's bits 5:3 are its memory type, and another table is another world.
            if depth == leaf && (3...5).contains(bit) { continue }
            if depth > leaf && bit >= 12 && bit < bits { continue }
            world.memory.setEntry(whole ^ 1 << bit, at: place)
            let outcome = access(world, 0x123, .read) { $0.physicalBits = bits }
            let isWrong = outcome == .exit(.eptMisconfiguration(GuestPhysical(0x123)))
            #expect(isWrong == (list >> bit & 1 != 0), "bit \(bit) at level \(depth): \(outcome)")
            world.memory.setEntry(whole, at: place)
          }
        }
      }
    }
  }

  @Test("memory types 2, 3 and 7 of a page do not exist")
  func memoryTypes() throws {
    for leaf in 1...3 {
      let world = try World(.off, .ept4)
      for type in 0..<8 as Range<UInt64> {
        world[second: 0, leaf] = type << 3 | 7 | (leaf > 1 ? 1 << 7 : 0)
        let isWrong =
          access(world, 0, .read) == .exit(.eptMisconfiguration(GuestPhysical(0)))
        #expect(isWrong == [2, 3, 7].contains(type))
      }
    }
  }

  @Test("large pages reach as far as they say, and misconfigure where the processor has none")
  func largePages() throws {
    for (leaf, level) in [(1, Level.page4K), (2, .page2M), (3, .page1G)] {
      let world = try World(.off, .ept4)
      let size = level.byteCount
      world.mapSecond(size, to: 3 * size, depth: leaf)
      let outcome = access(world, size + size - 1, .write)
      #expect(outcome.translation?.hostPhysical == HostPhysical(4 * size - 1))
      #expect(outcome.translation?.level == level)
      for largest in [Level.page4K, .page2M, .page1G] {
        let outcome = access(world, size, .read) { $0.largestSecondPage = largest }
        #expect((outcome.translation != nil) == (level <= largest))
        if level > largest { #expect(outcome.exitAddress == size) }
      }
    }
  }

  @Test("an address that the tables do not reach is a violation without rights")
  func beyond() throws {
    for (second, bits) in [(World.Second.ept4, 48), (.ept5, 57)] as [(World.Second, UInt64)] {
      let world = try World(.off, second)
      world.mapSecond(0, to: 0)
      #expect(access(world, 0, .read).translation != nil)
      #expect(access(world, 1 << bits, .write).qualification == 2)
    }
  }

  @Test("an entry pointer that no VM entry accepts is the caller's mistake")
  func walkLength() async {
    await #expect(processExitsWith: .failure) {
      let world = try World(.off, .ept4)
      var processor = world.processor()
      _ = processor.translate(
        guestPhysical: GuestPhysical(0), .read, through: .ept(eptp: world.secondRoot | 6 | 2 << 3))
    }
  }

  @Test("with accessed and dirty bits, every entry is marked and a write the leaf dirty")
  func marks() throws {
    for second in [World.Second.ept4, .ept5] {
      for leaf in 1...3 {
        let world = try World(.off, second)
        world.mapSecond(0, to: 0, depth: leaf)
        for kind in AccessKind.allCases {
          for depth in leaf...world.secondDepth { world[second: 0, depth] &= ~0x300 }
          let outcome = access(world, 5, kind)
          #expect(outcome.translation?.usable.contains(.write) == (kind == .write))
          for depth in leaf...world.secondDepth {
            let expected: UInt64 = kind == .write && depth == leaf ? 0x300 : 0x100
            #expect(world[second: 0, depth] & 0x300 == expected)
          }
        }
      }
    }
  }

  @Test("without accessed and dirty bits nothing is marked, and every page is as if dirty")
  func unmarked() throws {
    let world = try World(.off, .ept4)
    world.usesSecondMarks = false
    world.mapSecond(0, to: 0)
    #expect(access(world, 5, .read).translation?.usable == [.read, .write, .fetch])
    #expect(access(world, 5, .write).translation != nil)
    for depth in 1...4 { #expect(world[second: 0, depth] & 0x300 == 0) }
  }

  @Test("a refused access marks nothing")
  func refusalsMarkNothing() throws {
    let world = try World(.off, .ept4)
    world.mapSecond(0, to: 0)
    world[second: 0, 1] = 0x31
    #expect(access(world, 0, .write).qualification == 2 | 1 << 3)
    for depth in 1...4 { #expect(world[second: 0, depth] & 0x300 == 0) }
  }
}

@Suite("A guest's tables behind extended page tables")
struct GuestBehindEPTTests {
  private static let linear: UInt64 = 0x20_3000
  private static let page: UInt64 = 0x80_0000

  private func world(_ mode: World.Mode = .fourLevel) throws -> World {
    let world = try World(mode, .ept4)
    world[Self.linear, 1] = Self.page | 0x67
    world.mapSecond(Self.page, to: Self.page + world.delta)
    for depth in 1...world.topDepth { world[Self.linear, depth] |= 0x20 }
    return world
  }

  /// The guest-physical page of the table that holds the entry of a depth.
  private func tablePage(_ world: World, _ depth: Int) -> UInt64 {
    world.place(Self.linear, depth) & ~0xFFF
  }

  @Test(
    "a violation says what was tried and whether at a table or at the page",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel])
  func qualification(mode: World.Mode) throws {
    let world = try World(mode, .ept5)
    world[Self.linear, 1] = Self.page | 0x67
    for (kind, bit) in [(AccessKind.read, 1), (.write, 2), (.fetch, 4)] as [(AccessKind, UInt64)] {
      let final = world.access(Self.linear + 8, kind, .user)
      #expect(
        final
          == .exit(
            .eptViolation(
              qualification: bit | 0x180, GuestPhysical(Self.page + 8),
              linear: GuestVirtual(Self.linear + 8))))
      for depth in 1...world.topDepth {
        let place = world.place(Self.linear, depth)
        let whole = world[second: place, 1]
        // Reading a table counts as a write where EPT has dirty bits, and reads none the less.
        for (marks, tried) in [(true, 3), (false, 1)] as [(Bool, UInt64)] {
          world.usesSecondMarks = marks
          world[second: place, 1] = 0
          let outcome = world.access(Self.linear, kind, .user)
          #expect(outcome.qualification == tried | 0x80)
          #expect(outcome.exitAddress == place)
        }
        world.usesSecondMarks = true
        world[second: place, 1] = whole
      }
    }
  }

  @Test("a table that is read-only in EPT with dirty bits exits as a write with its rights")
  func readOnlyTable() throws {
    let world = try world()
    for depth in 1...4 {
      let page = tablePage(world, depth)
      world[second: page, 1] &= ~2
      let outcome = world.access(Self.linear)
      #expect(outcome.qualification == 3 | 0b101 << 3 | 0x80)
      #expect(outcome.exitAddress == world.place(Self.linear, depth))
      world[second: page, 1] |= 2
    }
  }

  @Test("without dirty bits in EPT a read-only table can be walked until a bit must be set in it")
  func readOnlyTableWithoutMarks() throws {
    let world = try world()
    world.usesSecondMarks = false
    for depth in 1...4 {
      let place = world.place(Self.linear, depth)
      let page = tablePage(world, depth)
      let whole = world[Self.linear, depth]
      world[second: page, 1] &= ~2
      #expect(world.access(Self.linear, .write).translation != nil)
      // Setting the bit is a data write, with the rights of the table's page.
      world[Self.linear, depth] = whole & ~0x20
      let outcome = world.access(Self.linear)
      #expect(outcome.qualification == 2 | 0b101 << 3 | 0x80)
      #expect(outcome.exitAddress == place)
      #expect(world[Self.linear, depth] == whole & ~0x20)
      world[Self.linear, depth] = whole
      if depth == 1 {
        world[Self.linear, 1] = whole & ~0x40
        #expect(world.access(Self.linear).translation != nil)
        #expect(world.access(Self.linear, .write).qualification == 2 | 0b101 << 3 | 0x80)
        world[Self.linear, 1] = whole
      }
      world[second: page, 1] |= 2
    }
  }

  @Test("the walk of the guest's tables makes their frames dirty in EPT")
  func tablesAreDirtied() throws {
    let world = try world()
    #expect(world.access(Self.linear).translation != nil)
    for depth in 1...4 {
      #expect(world[second: tablePage(world, depth), 1] & 0x300 == 0x300)
    }
    #expect(world[second: Self.page, 1] & 0x300 == 0x100)
    #expect(world.access(Self.linear, .write).translation != nil)
    #expect(world[second: Self.page, 1] & 0x300 == 0x300)
  }

  @Test("a misconfigured frame of a table or page says which")
  func misconfiguration() throws {
    let world = try world()
    for place in (1...4).map({ world.place(Self.linear, $0) }) + [Self.page] {
      let whole = world[second: place, 1]
      world[second: place, 1] = whole & ~1
      #expect(
        world.access(Self.linear) == .exit(.eptMisconfiguration(GuestPhysical(place))))
      world[second: place, 1] = whole
    }
  }

  @Test("a fault of the guest's wins over the exit of a page that is not reached")
  func faultFirst() throws {
    let world = try world()
    world[second: Self.page, 1] = 0
    world[Self.linear, 1] &= ~2
    #expect(world.access(Self.linear, .write, .user).errorCode == 7)
    #expect(world.access(Self.linear, .read, .user).exitAddress == Self.page)
  }

  @Test("execute-only memory can be fetched from and not read, by whatever privilege")
  func executeOnly() throws {
    let world = try world()
    world[second: Self.page, 1] = world[second: Self.page, 1] & ~7 | 4
    #expect(world.access(Self.linear, .fetch, .user).translation?.usable == [.fetch])
    #expect(world.access(Self.linear, .read).qualification == 1 | 4 << 3 | 0x180)
    #expect(world.access(Self.linear, .write).qualification == 2 | 4 << 3 | 0x180)
  }

  @Test("a translation reaches as far as the smaller page of the two dimensions")
  func smallerPage() throws {
    for guestLeaf in 1...3 {
      for secondLeaf in 1...3 {
        let world = try World(.fourLevel, .ept4)
        let linear: UInt64 = 0x7F_C0_20_3000
        let page: UInt64 = 0x4000_0000
        world[linear, guestLeaf] = page | 0x67 | (guestLeaf > 1 ? 1 << 7 : 0)
        let inPage = linear & (Level(guestLeaf).byteCount - 1)
        let guest = page + inPage
        let size = Level(secondLeaf).byteCount
        world.mapSecond(guest & ~(size - 1), to: 5 << 30, depth: secondLeaf)
        let outcome = world.access(linear + 7)
        #expect(outcome.translation?.guestPhysical == GuestPhysical(guest + 7))
        #expect(outcome.translation?.hostPhysical == HostPhysical(5 << 30 | (guest + 7) % size))
        #expect(outcome.translation?.level == Level(min(guestLeaf, secondLeaf)))
      }
    }
  }
}
