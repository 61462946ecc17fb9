import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("The formats of the guest's entries")
struct FormatTests {
  private static let linear: UInt64 = 0x20_3000

  /// The bits that must be 0, as the manual's tables list them.
  private func reserved(
    _ mode: World.Mode, depth: Int, isLeaf: Bool, bits: UInt64, noExecute: Bool, amd: Bool
  ) -> UInt64 {
    func run(_ range: ClosedRange<UInt64>) -> UInt64 {
      range.reduce(0) { $0 | 1 << $1 }
    }
    if mode == .bits32 {
      guard isLeaf && depth == 2 else { return 0 }
      // Bits 21:(M-19), where M is the smaller of 40 and MAXPHYADDR.
      return run(min(40, bits) - 19...21)
    }
    var list: UInt64 = bits == 52 ? 0 : run(bits...51)
    if mode == .pae { list |= run(52...62) }
    if !noExecute { list |= 1 << 63 }
    if depth >= 4 { list |= amd ? run(7...8) : run(7...7) }
    if isLeaf && depth == 3 { list |= run(13...29) }
    if isLeaf && depth == 2 { list |= run(13...20) }
    return list
  }

  @Test(
    "exactly the manual's reserved bits fault, at every level of every format",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel],
    [32, 36, 40, 46, 51, 52] as [UInt64])
  func everyBit(mode: World.Mode, bits: UInt64) throws {
    for (noExecute, amd) in [(false, false), (true, false), (true, true)] {
      for leaf in 1...3 where leaf <= (mode == .fourLevel || mode == .fiveLevel ? 3 : 2) {
        let world = try World(mode)
        if !noExecute { world.registers.efer &= ~(1 << 11) }
        let large: UInt64 = leaf > 1 ? 1 << 7 : 0
        world[Self.linear, leaf] = 0x67 | large
        for depth in leaf...world.topDepth {
          let whole = world[Self.linear, depth]
          let place = world.place(Self.linear, depth)
          let list = reserved(
            mode, depth: depth, isLeaf: depth == leaf, bits: bits, noExecute: noExecute, amd: amd)
          // Present, writable, user, and what an entry's place makes a page or a table of, stay.
          let width: UInt64 = mode == .bits32 ? 32 : 64
          for bit in 3..<width where bit != 7 || depth >= 4 {
            // A table beyond the gigabyte of memory reads as all ones, with its reserved bits.
            if depth > leaf && mode != .bits32 && bit >= 30 && bit < bits { continue }
            world.write(whole | 1 << bit, place)
            let outcome = world.access(Self.linear) {
              $0.guestPhysicalBits = bits
              $0.vendor = amd ? .amd : .intel
            }
            let isReserved = list >> bit & 1 != 0
            #expect(
              (outcome.errorCode.map { $0 & 8 } == 8) == isReserved,
              "bit \(bit) at level \(depth), MAXPHYADDR \(bits): \(outcome)")
            if isReserved { #expect(outcome.errorCode == 9) }
            world.write(whole, place)
          }
        }
      }
    }
  }

  @Test("an address of a page or a table reaches every bit below MAXPHYADDR")
  func everyAddressBit() throws {
    let world = try World(.fourLevel)
    for bit in 12..<52 as Range<UInt64> {
      world[Self.linear, 1] = 1 << bit | 0x67
      let outcome = world.access(Self.linear | 0x123) { $0.guestPhysicalBits = 52 }
      #expect(outcome.translation?.guestPhysical == GuestPhysical(1 << bit | 0x123))
    }
  }

  @Test("1 GiB pages fault where the processor has none")
  func gigabytePages() throws {
    let world = try World(.fourLevel)
    world[Self.linear, 3] = 0x4000_00E7
    let outcome = world.access(Self.linear + 5)
    #expect(outcome.translation?.guestPhysical == GuestPhysical(0x4000_0000 + Self.linear + 5))
    #expect(outcome.translation?.level == .page1G)
    #expect(world.access(Self.linear) { $0.hasGigabytePages = false }.errorCode == 9)
  }

  @Test("bit 7 of a 32-bit level-2 entry is ignored without CR4.PSE")
  func withoutPageSizeExtension() throws {
    let world = try World(.bits32)
    world[Self.linear, 1] = 0x80_0067
    world[Self.linear, 2] |= 1 << 7
    world.registers.cr4 = 0
    #expect(world.access(Self.linear + 9).translation?.guestPhysical == GuestPhysical(0x80_0009))
  }

  @Test("a 4 MiB page has the address bits that PSE-36 gives it, and bit 21 of the linear address")
  func fourMegabytes() throws {
    let world = try World(.bits32)
    for high in 0..<256 as Range<UInt64> {
      world[0x40_0000, 2] = 0x0380_00E7 | high << 13
      for linear in [0x40_0007, 0x60_0007] as [UInt64] {
        let expected = GuestPhysical(high << 32 | 0x0380_0000 | linear & 0x3F_FFFF)
        #expect(world.access(linear).translation?.guestPhysical == expected)
        // A processor with 36 bits, and one without the extension, hold the rest reserved.
        let with36 = world.access(linear) { $0.largePageBits = 36 }
        #expect(high < 16 ? with36.translation?.guestPhysical == expected : with36.errorCode == 9)
        let with32 = world.access(linear) { $0.largePageBits = 32 }
        #expect(high < 1 ? with32.translation?.guestPhysical == expected : with32.errorCode == 9)
      }
    }
  }

  @Test(
    "every level of every format indexes by its own bits of the address",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel])
  func indices(mode: World.Mode) throws {
    let world = try World(mode)
    // In PAE mode only the first PDPTE is present.
    let top: UInt64 =
      switch mode {
      case .bits32: 31
      case .pae: 29
      case .fourLevel: 46
      default: 55
      }
    for bit in 12...top {
      let linear: UInt64 = 1 << bit
      world[linear, 1] = bit << 24 | 0x67
      #expect(world.access(linear + 3).translation?.guestPhysical == GuestPhysical(bit << 24 | 3))
    }
  }

  @Test("the upper half is an address like any other, and the hole between is #GP")
  func canonical() throws {
    for (mode, bits) in [(World.Mode.fourLevel, 48), (.fiveLevel, 57)] as [(World.Mode, UInt64)] {
      let world = try World(mode)
      let low: UInt64 = 1 << (bits - 1) - 0x1000
      let high: UInt64 = UInt64.max << (bits - 1)
      world[low, 1] = 0x10_0067
      world[high, 1] = 0x20_0067
      #expect(world.access(low).translation?.guestPhysical == GuestPhysical(0x10_0000))
      #expect(world.access(high).translation?.guestPhysical == GuestPhysical(0x20_0000))
      #expect(world.access(low + 0x1000) == .generalProtection)
      #expect(world.access(high - 1) == .generalProtection)
      for bit in bits..<64 {
        #expect(world.access(low ^ 1 << bit) == .generalProtection)
        #expect(world.access(high ^ 1 << bit) == .generalProtection)
      }
    }
  }

  @Test("outside 64-bit modes the upper half of an address does not exist")
  func shortAddresses() throws {
    for mode in [World.Mode.off, .bits32, .pae] {
      let world = try World(mode)
      if mode != .off { world[Self.linear, 1] = Self.linear | 0x67 }
      let outcome = world.access(Self.linear | 0xFFFF_FFFF_0000_0000)
      #expect(outcome.translation?.guestPhysical == GuestPhysical(Self.linear))
    }
  }

  @Test("with paging off everything is permitted, at its own address")
  func pagingOff() throws {
    let world = try World(.off)
    world.registers.cr4 = 0x30_0000
    for kind in AccessKind.allCases {
      for privilege in Privilege.allCases {
        let outcome = world.access(0xFEE0_0030, kind, privilege)
        #expect(outcome.translation?.hostPhysical == HostPhysical(0xFEE0_0030))
        #expect(outcome.translation?.usable == [.read, .write, .fetch])
      }
    }
  }

  @Test("a PAE walk starts at the PDPTE registers, whatever memory says")
  func registersOfPAE() throws {
    let world = try World(.pae)
    world[Self.linear, 1] = 0x80_0067
    world.memory.setEntry(0, at: HostPhysical(world.registers.cr3))
    #expect(world.access(Self.linear).translation?.guestPhysical == GuestPhysical(0x80_0000))
    // A PDPTE that is not present faults with P clear.
    #expect(world.access(0x4000_0000, .write, .user).errorCode == 6)
    world.registers.pdptes[0] = 0
    #expect(world.access(Self.linear, .fetch).errorCode == 0x10)
  }

  @Test(
    "an upper entry that is not present wins over what lies below, and a reserved bit over that")
  func order() throws {
    let world = try World(.fourLevel)
    world[Self.linear, 1] = 0x80_0067 | 1 << 51
    let middle = world[Self.linear, 2]
    #expect(world.access(Self.linear, .write, .user).errorCode == 0xF)
    world[Self.linear, 2] = middle & ~1
    #expect(world.access(Self.linear, .write, .user).errorCode == 6)
    world[Self.linear, 2] = middle & ~1 | 1 << 51
    #expect(world.access(Self.linear, .write, .user).errorCode == 6)
    // A reserved bit is told before a right that is missing.
    world[Self.linear, 2] = middle & ~4 | 1 << 51
    #expect(world.access(Self.linear, .read, .user).errorCode == 0xD)
  }

  @Test("an instruction fetch is told only where execution can be forbidden")
  func fetchBit() throws {
    for mode in [World.Mode.bits32, .pae, .fourLevel, .fiveLevel] {
      for noExecute in [false, true] {
        for smep in [false, true] {
          let world = try World(mode)
          world.registers.efer = world.registers.efer & ~(1 << 11) | (noExecute ? 1 << 11 : 0)
          if smep { world.registers.cr4 |= 1 << 20 }
          let told = smep || (noExecute && mode != .bits32)
          #expect(world.access(Self.linear, .fetch, .user).errorCode == (told ? 0x14 : 4))
        }
      }
    }
  }

  @Test("tables outside memory read as all ones")
  func openBus() throws {
    // All ones is a table, a reserved bit, or a page, depending on where it stands.
    for (mode, code) in [
      (World.Mode.bits32, nil), (.pae, 15), (.fourLevel, 15), (.fiveLevel, 15),
    ] as [(World.Mode, UInt32?)] {
      let world = try World(mode)
      world[Self.linear, 1] = 0x67
      world[Self.linear, 2] = 0xC000_0067
      let outcome = world.access(Self.linear, .write, .user)
      #expect(outcome.errorCode == code)
      if code == nil {
        #expect(outcome.translation?.guestPhysical == GuestPhysical(0xFFFF_F000))
      }
    }
    // With 52 address bits nothing of it is reserved in a 4 KiB page.
    let world = try World(.fourLevel)
    world[Self.linear, 1] = 0x67
    world[Self.linear, 2] = 0x7_0000_0000_0067
    let outcome = world.access(Self.linear, .write, .user) { $0.guestPhysicalBits = 52 }
    #expect(outcome.translation?.guestPhysical == GuestPhysical(0x000F_FFFF_FFFF_F000))
  }
}
