import PagingUnits
import Testing
import X86Paging

@Suite("Reserved bits")
struct ReservedBitsTests {
  private func rules(
    _ mode: PagingMode, noExecute: Bool = true, _ change: (inout PagingFeatures) -> Void = { _ in }
  ) -> WalkRules {
    var features = PagingFeatures(physicalBits: 46)
    change(&features)
    var registers = X86PagingTests.registers(mode)
    if !noExecute { registers.efer &= ~EFERLayout.noExecute.mask }
    return WalkRules(registers, features: features)
  }

  private let high: UInt64 = 0x000F_C000_0000_0000

  @Test("4- and 5-level entries reserve what the manual's tables say")
  func long() {
    for mode in [PagingMode.fourLevel, .fiveLevel] {
      let reserved = rules(mode).reserved
      for bit7 in 0...1 {
        #expect(reserved[bit7, .level5] == high | 1 << 7)
        #expect(reserved[bit7, .level4] == high | 1 << 7)
        #expect(reserved[bit7, .page4K] == high)
      }
      #expect(reserved[0, .page1G] == high)
      #expect(reserved[0, .page2M] == high)
      #expect(reserved[1, .page1G] == high | 0x3FFF_E000)
      #expect(reserved[1, .page2M] == high | 0x001F_E000)
    }
  }

  @Test("without 1 GiB pages bit 7 is reserved at level 3")
  func noGigabytePages() {
    let reserved = rules(.fourLevel) { $0.hasGigabytePages = false }.reserved
    #expect(reserved[1, .page1G] & 1 << 7 != 0)
    #expect(reserved[1, .page2M] & 1 << 7 == 0)
  }

  @Test("AMD reserves bit 8 at levels 5 and 4, Intel nowhere")
  func globalBit() {
    let amd = rules(.fiveLevel) { $0.vendor = .amd }.reserved
    let intel = rules(.fiveLevel).reserved
    for depth in 1...5 {
      #expect((amd[0, Level(depth)] & 1 << 8 != 0) == (depth >= 4))
      #expect(intel[0, Level(depth)] & 1 << 8 == 0)
    }
  }

  @Test("bit 63 is reserved exactly while EFER.NXE is 0", arguments: [PagingMode.pae, .fourLevel])
  func noExecute(mode: PagingMode) {
    for depth in 1...2 {
      #expect(rules(mode).reserved[0, Level(depth)] >> 63 == 0)
      #expect(rules(mode, noExecute: false).reserved[0, Level(depth)] >> 63 == 1)
    }
  }

  @Test("PAE entries reserve bits 62:52 too, and PDPTEs bits 63, 8:5 and 2:1")
  func pae() {
    let upper: UInt64 = 0x7FF0_0000_0000_0000
    let reserved = rules(.pae).reserved
    #expect(reserved[0, .page4K] == high | upper)
    #expect(reserved[0, .page2M] == high | upper)
    #expect(reserved[1, .page2M] == high | upper | 0x001F_E000)
    #expect(reserved.pdpteMask == high | upper | 1 << 63 | 0x1E6)
  }

  @Test(
    "a 4 MiB page reserves bit 21 and the address bits beyond MAXPHYADDR, of 40 at the most",
    arguments: [
      (32, 0x3F_E000), (36, 0x3E_0000), (39, 0x30_0000), (40, 0x20_0000), (52, 0x20_0000),
    ]
      as [(UInt64, UInt64)])
  func large(width: UInt64, mask: UInt64) {
    #expect(rules(.bits32) { $0.physicalBits = width }.reserved[1, .page2M] == mask)
    #expect(rules(.bits32) { $0.physicalBits = width }.reserved[0, .page2M] == 0)
  }

  @Test("EPT entries reserve what the manual's tables say")
  func extended() {
    let reserved = WalkRules(eptPointer: 0x1E, features: PagingFeatures(physicalBits: 46)).reserved
    #expect(reserved[0, .level4] == high | 0xF8)
    #expect(reserved[0, .page1G] == high | 0x78)
    #expect(reserved[0, .page2M] == high | 0x78)
    #expect(reserved[1, .page1G] == high | 0x3FFF_F000)
    #expect(reserved[1, .page2M] == high | 0x001F_F000)
    #expect(reserved[0, .page4K] == high)
  }

  @Test(
    "an EPT entry is misconfigured by memory type 2, 3 or 7, or by W without R, or by X alone",
    arguments: 0..<64 as Range<UInt64>)
  func misconfiguration(low: UInt64) {
    for executeOnly in [false, true] {
      var features = PagingFeatures()
      features.hasExecuteOnly = executeOnly
      let rules = WalkRules(eptPointer: 0x1E, features: features)
      let access = low & 7
      let bad =
        [2, 3, 7].contains(low >> 3) || [0b010, 0b110].contains(access)
        || (access == 0b100 && !executeOnly)
      let expected = access == 0 ? EntryMeaning.absent : bad ? .malformed : nil
      let meaning = rules.meaning(of: low, at: .page4K)
      if let expected {
        #expect(meaning == expected)
      } else {
        #expect(meaning != .malformed && meaning != .absent)
      }
    }
  }
}
