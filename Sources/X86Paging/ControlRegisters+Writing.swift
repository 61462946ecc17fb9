import Mutations
public import PagingUnits

extension ControlRegisters {
  /// Whether long mode is active (EFER.LMA).
  private var isLong: Bool { EFERLayout.longModeActive.isSet(in: efer) }

  /// Whether PAE paging, which has PDPTE registers, is in use.
  private var hasPDPTEs: Bool { PagingMode(self) == .pae }

  /// Writes CR0 (KVM: `kvm_set_cr0`).
  ///
  /// - Parameters:
  ///   - value: what is written; bits 63:32 must be 0.
  ///   - code: the code segment of the instruction.
  /// - Returns: the registers afterwards, or why the instruction raises #GP.
  public func writingCR0(_ value: UInt64, from code: CodeSegmentWidth) -> ControlWrite {
    let pages = CR0Layout.paging.isSet(in: value)
    let paged = CR0Layout.paging.isSet(in: cr0)
    guard value >> 32 == 0 else { return .refused(.reservedBit) }
    if CR0Layout.notWriteThrough.isSet(in: value) && !CR0Layout.cacheDisable.isSet(in: value) {
      return .refused(.notWriteThroughWhileCaching)
    }
    if pages && !CR0Layout.protection.isSet(in: value) {
      return .refused(.pagingWithoutProtection)
    }
    if pages && !paged && EFERLayout.longModeEnable.isSet(in: efer) {
      guard CR4Layout.physicalAddressExtension.isSet(in: cr4) else {
        return .refused(.longModeWithoutPAE)
      }
      guard code == .narrow else { return .refused(.longModeFrom64BitCode) }
    }
    if !pages && paged {
      if code == .bits64 { return .refused(.pagingEndsIn64BitCode) }
      if CR4Layout.contextIdentifiers.isSet(in: cr4) {
        return .refused(.pagingEndsWithContextIdentifiers)
      }
    }
    var after = self
    after.cr0 = value
    if pages && EFERLayout.longModeEnable.isSet(in: efer) {
      after.efer |= EFERLayout.longModeActive.mask
    } else {
      after.efer &= ~EFERLayout.longModeActive.mask
    }
    return .written(after, effects(ofCR0: value, after))
  }

  private func effects(ofCR0 value: UInt64, _ after: ControlRegisters) -> ControlWriteEffects {
    let changed = cr0 ^ value
    var effects: ControlWriteEffects = []
    let loading =
      CR0Layout.cacheDisable.mask | CR0Layout.notWriteThrough.mask | CR0Layout.paging.mask
    if after.hasPDPTEs && changed & loading != 0 { effects.insert(.reloadPDPTEs) }
    if CR0Layout.paging.isSet(in: changed) {
      effects.insert(.resetContext)
      let flushes = !Mutation.pagingEndFlushesNothing.isActive
      if !CR0Layout.paging.isSet(in: value) && flushes { effects.insert(.flushAll) }
    } else if CR0Layout.writeProtect.isSet(in: changed) && CR0Layout.paging.isSet(in: value) {
      effects.insert(.refreshRules)
    }
    return effects
  }

  /// Writes CR4 (KVM: `kvm_set_cr4`).
  ///
  /// - Parameters:
  ///   - value: what is written.
  ///   - reserved: the bits that the guest's processor lacks.
  /// - Returns: the registers afterwards, or why the instruction raises #GP.
  public func writingCR4(_ value: UInt64, reserved: UInt64 = 0xFFFF_FFFF_0000_0000) -> ControlWrite
  {
    let changed = cr4 ^ value
    guard value & reserved == 0 else { return .refused(.reservedBit) }
    if isLong {
      guard CR4Layout.physicalAddressExtension.isSet(in: value) else {
        return .refused(.longModeNeedsPAE)
      }
      guard !CR4Layout.fiveLevels.isSet(in: changed) else {
        return .refused(.levelsChangeInLongMode)
      }
    }
    let identifies = CR4Layout.contextIdentifiers.isSet(in: value)
    let identified = CR4Layout.contextIdentifiers.isSet(in: cr4)
    if identifies && !identified {
      guard isLong else { return .refused(.contextIdentifiersOutsideLongMode) }
      guard cr3 & 0xFFF == 0 else { return .refused(.contextIdentifiersWithLowBits) }
    }
    var after = self
    after.cr4 = value
    var effects: ControlWriteEffects = []
    let loading =
      CR4Layout.globalPages.mask | CR4Layout.pageSizeExtensions.mask
      | CR4Layout.physicalAddressExtension.mask | CR4Layout.executionPrevention.mask
    if after.hasPDPTEs && changed & loading != 0 { effects.insert(.reloadPDPTEs) }
    let role =
      CR4Layout.pageSizeExtensions.mask | CR4Layout.physicalAddressExtension.mask
      | CR4Layout.fiveLevels.mask | CR4Layout.executionPrevention.mask
      | CR4Layout.accessPrevention.mask | CR4Layout.protectionKeys.mask
    if changed & role != 0 { effects.insert(.resetContext) }
    if identifies && !identified { effects.insert(.dropShadowRoots) }
    if Mutation.globalToggleKeepsGlobals.isActive { return .written(after, effects) }
    if CR4Layout.globalPages.isSet(in: changed) || (identified && !identifies) {
      effects.insert(.flushAll)
    } else if CR4Layout.physicalAddressExtension.isSet(in: changed)
      || CR4Layout.executionPrevention.isSet(in: changed & value)
    {
      effects.insert(.flushCurrent)
    }
    return .written(after, effects)
  }

  /// Writes CR3 (KVM: `kvm_set_cr3`).
  ///
  /// - Parameters:
  ///   - value: what is written; with CR4.PCIDE bit 63 asks for no flush and is not kept.
  ///   - features: MAXPHYADDR says which bits an address may have.
  /// - Returns: the registers afterwards, or why the instruction raises #GP.
  public func writingCR3(_ value: UInt64, features: PagingFeatures) -> ControlWrite {
    var stored = value
    var keeps = false
    if CR4Layout.contextIdentifiers.isSet(in: cr4) {
      keeps = value >> 63 != 0
      stored &= ~(1 << 63)
    }
    guard stored & features.reservedAddressBits == 0 else { return .refused(.reservedBit) }
    var after = self
    after.cr3 = stored
    var effects: ControlWriteEffects = keeps ? [] : .flushContext
    if Mutation.cr3LoadFlushesNothing.isActive { effects = [] }
    if hasPDPTEs { effects.insert(.reloadPDPTEs) }
    if stored != cr3 { effects.insert(.newRoot) }
    return .written(after, effects)
  }

  /// Writes IA32_EFER (KVM: `set_efer`).
  ///
  /// - Parameters:
  ///   - value: what is written; LMA keeps its value whatever is written.
  ///   - reserved: the bits that the guest's processor lacks.
  /// - Returns: the registers afterwards, or why the instruction raises #GP.
  public func writingEFER(_ value: UInt64, reserved: UInt64 = ~0xFD01) -> ControlWrite {
    guard value & reserved == 0 else { return .refused(.reservedBit) }
    let changed = efer ^ value
    if CR0Layout.paging.isSet(in: cr0) && EFERLayout.longModeEnable.isSet(in: changed) {
      return .refused(.longModeChangesWhilePaging)
    }
    var after = self
    let active = EFERLayout.longModeActive.mask
    after.efer = (value & ~active) | (efer & active)
    let role = EFERLayout.longModeEnable.mask | EFERLayout.noExecute.mask
    return .written(after, changed & role != 0 ? .resetContext : [])
  }
}
