import PagingUnits
import Testing
import X86Paging

@Suite("Paging modes")
struct PagingModeTests {
  @Test("CR0.PG, CR4.PAE, EFER.LMA and CR4.LA57 select the mode, in this order", arguments: 0..<16)
  func selection(bits: UInt64) {
    var registers = ControlRegisters()
    registers.cr0 |= (bits & 1) << 31
    registers.cr4 |= (bits >> 1 & 1) << 5 | (bits >> 3 & 1) << 12
    registers.efer |= (bits >> 2 & 1) << 10
    let expected: PagingMode =
      switch (bits & 1, bits >> 1 & 1, bits >> 2 & 1, bits >> 3) {
      case (0, _, _, _): .off
      case (_, 0, _, _): .bits32
      case (_, _, 0, _): .pae
      case (_, _, _, 0): .fourLevel
      default: .fiveLevel
      }
    #expect(PagingMode(registers) == expected)
  }

  @Test("a mode has its levels and its width")
  func shapes() {
    let shapes = PagingMode.allCases.map { ($0.rootLevel?.depth ?? 0, $0.linearBits, $0.isLong) }
    #expect(shapes.map(\.0) == [0, 2, 3, 4, 5])
    #expect(shapes.map(\.1) == [32, 32, 32, 48, 57])
    #expect(shapes.map(\.2) == [false, false, false, true, true])
  }

  @Test(
    "an address is canonical when its upper bits are alike",
    arguments: [
      (0, true, true), (0x7FFF_FFFF_FFFF, true, true), (0x8000_0000_0000, false, true),
      (0xFFFF_8000_0000_0000, true, true), (0xFFFF_7FFF_FFFF_FFFF, false, true),
      (0x00FF_FFFF_FFFF_FFFF, false, true), (0x0100_0000_0000_0000, false, false),
      (0xFF00_0000_0000_0000, false, true), (0xFEFF_FFFF_FFFF_FFFF, false, false),
      (.max, true, true),
    ] as [(UInt64, Bool, Bool)])
  func canonical(raw: UInt64, in48: Bool, in57: Bool) {
    #expect(GuestVirtual(raw).isCanonical(width: 48) == in48)
    #expect(GuestVirtual(raw).isCanonical(width: 57) == in57)
  }
}

@Suite("Error codes")
struct PageFaultErrorCodeTests {
  @Test("an access asks with its own bits and no others")
  func asking() {
    #expect(PageFaultErrorCode(asking: .read, by: .supervisor) == [])
    #expect(PageFaultErrorCode(asking: .write, by: .user) == [.write, .user])
    #expect(PageFaultErrorCode(asking: .fetch, by: .supervisor) == .fetch)
    #expect(PageFaultErrorCode(asking: .read, by: .implicitSupervisor) == .implicitAccess)
  }

  @Test("KVM's own bits lie above the guest's 32")
  func synthetic() {
    #expect(PageFaultErrorCode.synthetic.guestCode == 0)
    #expect(PageFaultErrorCode([.present, .implicitAccess]).guestCode == 1)
  }

  @Test("an EPT violation's qualification becomes an error code bit by bit", arguments: 0..<512)
  func qualification(word: UInt64) {
    let code = PageFaultErrorCode(eptViolation: word)
    #expect(code.contains(.user) == (word & 1 != 0))
    #expect(code.contains(.write) == (word & 2 != 0))
    #expect(code.contains(.fetch) == (word & 4 != 0))
    #expect(code.contains(.present) == (word & 0x38 != 0))
    #expect(code.contains(.guestFinal) == (word & 0x180 == 0x180))
    #expect(code.contains(.guestPage) == (word & 0x180 == 0x080))
  }
}
