import PagingUnits
import Testing
import X86Paging

@Suite("Writes to control registers")
struct ControlWriteTests {
  private func effects(_ write: ControlWrite) -> ControlWriteEffects? {
    guard case .written(_, let effects) = write else { return nil }
    return effects
  }

  private func after(_ write: ControlWrite) -> ControlRegisters? {
    guard case .written(let registers, _) = write else { return nil }
    return registers
  }

  @Test("CR0 refuses NW without CD, PG without PE, and bits beyond 31")
  func cr0Refusals() {
    let state = registers(.off)
    #expect(state.writingCR0(1 << 29, from: .narrow) == .refused(.notWriteThroughWhileCaching))
    #expect(effects(state.writingCR0(3 << 29, from: .narrow)) == [])
    #expect(state.writingCR0(1 << 31, from: .narrow) == .refused(.pagingWithoutProtection))
    #expect(state.writingCR0(1 << 32, from: .narrow) == .refused(.reservedBit))
  }

  @Test("long mode starts with paging, from narrow code with PAE, and ends with it")
  func longMode() throws {
    var state = registers(.off)
    state.efer = EFERLayout.longModeEnable.mask
    let on = CR0Layout.paging.mask | CR0Layout.protection.mask
    #expect(state.writingCR0(on, from: .narrow) == .refused(.longModeWithoutPAE))
    state.cr4 = CR4Layout.physicalAddressExtension.mask
    #expect(state.writingCR0(on, from: .bits64) == .refused(.longModeFrom64BitCode))
    let active = try #require(after(state.writingCR0(on, from: .narrow)))
    #expect(PagingMode(active) == .fourLevel)
    #expect(active.writingCR0(1, from: .bits64) == .refused(.pagingEndsIn64BitCode))
    let ended = active.writingCR0(1, from: .narrow)
    #expect(effects(ended) == [.resetContext, .flushAll])
    #expect(after(ended)?.efer == EFERLayout.longModeEnable.mask)
    var identified = active
    identified.cr4 |= CR4Layout.contextIdentifiers.mask
    #expect(
      identified.writingCR0(1, from: .narrow) == .refused(.pagingEndsWithContextIdentifiers))
  }

  @Test("CR0.WP alone refreshes the rules while paging is on")
  func writeProtect() {
    let state = registers(.fourLevel)
    let toggled = state.cr0 ^ CR0Layout.writeProtect.mask
    #expect(effects(state.writingCR0(toggled, from: .bits64)) == .refreshRules)
    let off = registers(.off)
    #expect(effects(off.writingCR0(off.cr0 | 1 << 16, from: .narrow)) == [])
  }

  @Test("PAE paging loads its PDPTEs when CD, NW or PG change, and on every write to CR3")
  func loads() {
    let state = registers(.pae)
    #expect(effects(state.writingCR0(state.cr0 | 1 << 30, from: .narrow)) == .reloadPDPTEs)
    #expect(effects(state.writingCR0(state.cr0 ^ 1 << 16, from: .narrow)) == .refreshRules)
    #expect(
      effects(state.writingCR3(state.cr3, features: PagingFeatures()))
        == [.reloadPDPTEs, .flushContext])
    let long = registers(.fourLevel)
    #expect(effects(long.writingCR3(long.cr3, features: PagingFeatures())) == .flushContext)
  }

  @Test("CR4 keeps PAE and LA57 in long mode")
  func cr4InLongMode() {
    let state = registers(.fourLevel)
    let pae = CR4Layout.physicalAddressExtension.mask
    #expect(state.writingCR4(state.cr4 & ~pae) == .refused(.longModeNeedsPAE))
    #expect(state.writingCR4(state.cr4 | 1 << 12) == .refused(.levelsChangeInLongMode))
    #expect(state.writingCR4(state.cr4 | 1 << 40) == .refused(.reservedBit))
    #expect(effects(registers(.pae).writingCR4(pae | 1 << 12)) != nil)
  }

  @Test("CR4.PCIDE is set in long mode alone, with PCID 0")
  func contextIdentifiers() {
    let bit = CR4Layout.contextIdentifiers.mask
    let pae = registers(.pae)
    #expect(pae.writingCR4(pae.cr4 | bit) == .refused(.contextIdentifiersOutsideLongMode))
    var state = registers(.fourLevel)
    #expect(effects(state.writingCR4(state.cr4 | bit)) == .dropShadowRoots)
    state.cr3 |= 0x18
    #expect(state.writingCR4(state.cr4 | bit) == .refused(.contextIdentifiersWithLowBits))
    state.cr4 |= bit
    #expect(effects(state.writingCR4(state.cr4 & ~bit)) == .flushAll)
  }

  @Test("a change of CR4 flushes and resets what depends on it")
  func cr4Effects() {
    let state = registers(.fourLevel)
    #expect(effects(state.writingCR4(state.cr4 | 1 << 7)) == .flushAll)
    #expect(effects(state.writingCR4(state.cr4 | 1 << 20)) == [.resetContext, .flushCurrent])
    #expect(effects(state.writingCR4(state.cr4 | 1 << 21)) == .resetContext)
    #expect(effects(state.writingCR4(state.cr4 | 1 << 22)) == .resetContext)
    #expect(effects(state.writingCR4(state.cr4 | 1 << 9)) == [])
  }

  @Test("CR3 refuses address bits beyond MAXPHYADDR; bit 63 means no flush, with PCIDE alone")
  func cr3() {
    var state = registers(.fourLevel)
    let features = PagingFeatures(physicalBits: 40)
    #expect(state.writingCR3(1 << 40, features: features) == .refused(.reservedBit))
    #expect(state.writingCR3(1 << 63, features: features) == .refused(.reservedBit))
    #expect(effects(state.writingCR3(1 << 39, features: features)) == [.newRoot, .flushContext])
    state.cr4 |= CR4Layout.contextIdentifiers.mask
    let kept = state.writingCR3(1 << 63 | 0x2003, features: features)
    #expect(effects(kept) == .newRoot)
    #expect(after(kept)?.cr3 == 0x2003)
  }

  @Test("EFER keeps LMA, and LME while paging is on")
  func efer() {
    let state = registers(.fourLevel)
    let lma = EFERLayout.longModeActive.mask
    #expect(
      state.writingEFER(state.efer & ~EFERLayout.longModeEnable.mask)
        == .refused(.longModeChangesWhilePaging))
    #expect(after(state.writingEFER(state.efer & ~lma))?.efer == state.efer)
    #expect(
      effects(state.writingEFER(state.efer ^ EFERLayout.noExecute.mask)) == .resetContext)
    #expect(state.writingEFER(1 << 20) == .refused(.reservedBit))
    #expect(after(registers(.off).writingEFER(lma))?.efer == 0)
  }
}
