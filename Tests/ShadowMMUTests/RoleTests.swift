import PageTables
import PagingUnits
import Testing
import X86Paging

@testable import ShadowMMU

/// Control registers of a guest, by the bits that its role is made from.
func registers(
  paging: Bool = true, wp: Bool = true, pae: Bool = false, pse: Bool = true, long: Bool = false,
  la57: Bool = false, smep: Bool = false, smap: Bool = false, pke: Bool = false, nx: Bool = true,
  cr3: UInt64 = 0
) -> ControlRegisters {
  var registers = ControlRegisters()
  registers.cr0 = 1 | (paging ? 1 << 31 : 0) | (wp ? 1 << 16 : 0)
  registers.cr4 = (pse ? 1 << 4 : 0) | (pae ? 1 << 5 : 0) | (la57 ? 1 << 12 : 0)
  registers.cr4 |= (smep ? 1 << 20 : 0) | (smap ? 1 << 21 : 0) | (pke ? 1 << 22 : 0)
  registers.efer = (nx ? 1 << 11 : 0) | (long ? 1 << 8 | 1 << 10 : 0)
  registers.cr3 = cr3
  return registers
}

@Suite("Roles and quadrants")
struct RoleTests {
  @Test("the roles of every mode have the kernel's words")
  func words() {
    let off = ProcessorRole(registers(paging: false), in: .normal).rootRole
    #expect(off.word == 0x1783)
    #expect(off.child(.all, .linear, at: 3).word == 0x1782)
    let short = ProcessorRole(registers(), in: .normal).rootRole
    let quarters = (0..<4).map { short.child(.all, .guestTable, at: $0).word }
    #expect(quarters == [0x3712, 0x3732, 0x3752, 0x3772])
    let directory = short.child(.all, .guestTable, at: 0)
    let halves = [4, 5].map { directory.child(.all, .guestTable, at: $0).word }
    #expect(halves == [0x3711, 0x3731])
    let pae = ProcessorRole(registers(pae: true), in: .normal).rootRole
    #expect(pae.child(.all, .guestTable, at: 3).word == 0x3702)
  }

  @Test("the roles over a guest's nested page tables have the kernel's words")
  func nestedWords() {
    let four = ProcessorRole.nested(registers(pae: true, long: true), in: .normal)
    let five = ProcessorRole.nested(registers(pae: true, long: true, la57: true), in: .normal)
    let root = four.nestedRootRole(levels: .level5)
    #expect(root.word == 0x61705 && !root.hasGuestEntries)
    let child = root.child(.all, .guestTable, at: 0)
    #expect(child.word == 0x21704 && child.hasGuestEntries)
    #expect(five.nestedRootRole(levels: .level5).word == 0x21705)
    #expect(four.nestedRootRole(levels: .level4).isPassthrough == false)
    let pae = ProcessorRole.nested(registers(pae: true), in: .normal).nestedRootRole(
      levels: .level4)
    #expect(pae.child(.all, .guestTable, at: 0).child(.all, .guestTable, at: 2).word == 0x21702)
    let short = ProcessorRole.nested(registers(nx: false), in: .normal)
    let quarters = (0..<4).map {
      short.nestedRootRole(levels: .level4).child(.all, .guestTable, at: 0)
        .child(.all, .guestTable, at: $0).word
    }
    #expect(quarters == [0x20712, 0x20732, 0x20752, 0x20772])
  }

  @Test("a role says of each control bit what counts in its mode, for all combinations")
  func everyCombination() {
    for bits in 0..<1 << 10 {
      let on = { (bit: Int) in bits >> bit & 1 == 1 }
      let state = registers(
        paging: on(0), wp: on(1), pae: on(2), pse: on(3), long: on(4) && on(2) && on(0),
        la57: on(5), smep: on(6), smap: on(7), pke: on(8), nx: on(9))
      let role = ProcessorRole(state, in: .systemManagement)
      #expect(role.base.space == .systemManagement && role.base.access == .all)
      guard on(0) else {
        #expect(!role.isPaged && role.base.isDirect && role.details == [])
        #expect(role.base.word == 0x0100_0780)
        continue
      }
      let isLong = on(4) && on(2)
      #expect(role.base.depth == (isLong ? (on(5) ? 5 : 4) : on(2) ? 3 : 2))
      #expect(role.base.hasShortEntries == !on(2) && !role.base.isDirect)
      #expect(role.base.respectsWriteProtection == on(1))
      #expect(role.base.preventsExecutionWithoutWP == (on(6) && !on(1)))
      #expect(role.base.preventsAccessWithoutWP == (on(7) && !on(1)))
      #expect(role.base.hasNoExecute == on(9) && role.rootRole.hasNoExecute)
      #expect(role.base.ignoresPageSize == (!on(2) && !on(3)))
      #expect(role.base.reservesNoExecute == (on(2) && !on(9)))
      #expect(role.rootRole.depth == max(3, role.base.depth))
      #expect(role.details.contains(.protectionKeys) == (isLong && on(8)))
      #expect(role.details.contains(.fiveLevels) == (isLong && on(5)))
      #expect(role.details.contains(.executionPrevention) == on(6))
      #expect(role.details.contains(.accessPrevention) == on(7))
      #expect(role.details.contains(.pageSizeExtensions) == on(3))
      #expect(role.details.contains(.longMode) == isLong)
    }
  }

  @Test("a root is special by either form of the rule")
  func specialRoots() {
    for isDirect in [false, true] {
      for depth in [0, 2, 3, 4, 5] {
        for level in 3...5 where isDirect || level > 3 || depth <= 3 {
          var role = ShadowPageRole.shadow(of: .normal)
          role.depth = level
          role.mapsLinearly = isDirect
          let first = level == 3 || (!isDirect && depth <= 3)
          #expect(role.isSpecialRoot(overDepth: depth) == first)
        }
      }
    }
  }

  @Test(
    "quadrants follow from addresses as the table of examples says",
    arguments: [
      (0x0000_0000, 0, 0), (0x0020_0000, 0, 1), (0x003F_FFFF, 0, 1), (0x0040_0000, 0, 0),
      (0x0060_0000, 0, 1), (0x3FE0_0000, 0, 1), (0x4000_0000, 1, 0), (0x7FFF_FFFF, 1, 1),
      (0x8000_0000, 2, 0), (0x8040_03FF, 2, 0), (0xBFFF_FFFF, 2, 1), (0xC0A0_1234, 3, 1),
      (0xFFFF_FFFF, 3, 1),
    ] as [(UInt64, Int, Int)])
  func quadrantExamples(address: UInt64, level2: Int, level1: Int) {
    #expect(ShadowPageRole.quadrant(of: GuestVirtual(address), at: .page2M) == level2)
    #expect(ShadowPageRole.quadrant(of: GuestVirtual(address), at: .page4K) == level1)
  }

  @Test("a quadrant is the same by address, by the guest's index and by our parent's index")
  func quadrantForms() {
    var chance = Chance(7)
    for _ in 0..<1_000_000 {
      let address = chance.next() & 0xFFFF_FFFF
      let (directory, table) = (Int(address >> 22), Int(address >> 12 & 1023))
      let place = GuestVirtual(address)
      let (two, one) = (
        ShadowPageRole.quadrant(of: place, at: .page2M),
        ShadowPageRole.quadrant(of: place, at: .page4K)
      )
      let above = ShadowMMU.index(of: place, at: .page2M)
      let isSame =
        two == directory >> 8 && one == table >> 9 && one == above & 1
        && above == (directory & 255) << 1 | one
        && two == ShadowMMU.index(of: place, at: .page1G)
      if !isSame { Issue.record("0x\(String(address, radix: 16))") }
    }
  }

  @Test(
    "a store of one short entry drops the entries of its own quadrant",
    arguments: [
      (0x000, 0, 0, 0, 0), (0x004, 0, 1, 0, 2), (0x3FC, 0, 255, 0, 510), (0x400, 0, 256, 1, 0),
      (0x7FC, 0, 511, 1, 510), (0x800, 1, 0, 2, 0), (0xBFC, 1, 255, 2, 510),
      (0xC00, 1, 256, 3, 0), (0xFFC, 1, 511, 3, 510),
    ])
  func shortStores(offset: Int, q1: Int, first1: Int, q2: Int, first2: Int) {
    let write = GuestWrite(offset: offset, count: 4)
    #expect(!write.isMisaligned(forEntriesOf: 4))
    var role = ProcessorRole(registers(), in: .normal).rootRole
    for quadrant in 0..<4 {
      role.quadrant = quadrant
      role.depth = 1
      if quadrant < 2 {
        #expect(write.entries(in: role) == (quadrant == q1 ? first1..<first1 + 1 : nil))
      }
      role.depth = 2
      #expect(write.entries(in: role) == (quadrant == q2 ? first2..<first2 + 2 : nil))
    }
  }

  @Test("a store is misaligned when it crosses entries or is smaller than any, for all stores")
  func misaligned() {
    for size in [4, 8] {
      for offset in 0..<64 {
        for count in [1, 2, 4, 8] {
          let entries = Set((offset..<offset + count).map { $0 / size })
          let isByteAtStart = count == 1 && offset % size == 0
          let meant = !isByteAtStart && (entries.count > 1 || count < 4)
          #expect(
            GuestWrite(offset: offset, count: count).isMisaligned(forEntriesOf: size) == meant)
        }
      }
    }
  }
}
