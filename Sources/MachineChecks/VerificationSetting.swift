import HardwareModel
import PagingUnits
import X86Paging

/// Everything that stays the same while entries and accesses vary: the control state, the
/// processor's features and the shape of the tables.
struct VerificationSetting {
  /// Which format.
  let format: VerificationFormat
  /// The control registers; CR3 points to the root.
  var registers = ControlRegisters()
  /// What the MMU is told of the guest's processor.
  var features = PagingFeatures()
  /// The EPT pointer or nCR3.
  var secondRoot: UInt64 = 0
  /// The level of the topmost entry in memory.
  var rootDepth: Int
  /// The level of the entry that is meant to be the leaf.
  var leafDepth = 1
  /// The address that is translated.
  var address: UInt64

  /// Paging as `format` has it, with every protection off and the tables in their frames.
  init(_ format: VerificationFormat, levels: Int = 4) {
    self.format = format
    registers.cr0 = CR0Layout.protection.mask | CR0Layout.paging.mask
    registers.cr4 = CR4Layout.physicalAddressExtension.mask | CR4Layout.globalPages.mask
    let long = EFERLayout.longModeEnable.mask | EFERLayout.longModeActive.mask
    switch format {
    case .bits32:
      registers.cr4 = CR4Layout.globalPages.mask
      rootDepth = 2
      address = 3 << 22 | 5 << 12 | 0x123
    case .pae:
      rootDepth = 2
      address = 2 << 30 | 3 << 21 | 5 << 12 | 0x123
      registers.pdptes[2] = 2 << 12 | 1
    case .fourLevel, .fiveLevel, .ept, .npt, .subpages:
      rootDepth = format == .fourLevel || levels == 4 && format != .fiveLevel ? 4 : 5
      address = 7 << 39 | 2 << 30 | 3 << 21 | 5 << 12 | 0x123
      if rootDepth == 5 { address |= 9 << 48 }
      registers.efer |= long
      if format == .npt { registers.efer |= EFERLayout.noExecute.mask }
      if rootDepth == 5 { registers.cr4 |= CR4Layout.fiveLevels.mask }
    }
    registers.cr3 = UInt64(rootDepth) << 12
    if format == .ept { secondRoot = UInt64(rootDepth) << 12 | UInt64(rootDepth - 1) << 3 | 6 }
    if format == .npt { features.vendor = .amd }
    if format == .npt { secondRoot = UInt64(rootDepth) << 12 }
  }

  /// The MMU's rules, one of them spoilt if so asked.
  func rules(breaking rule: BrokenRule?) -> WalkRules {
    var rules =
      format == .ept
      ? WalkRules(eptPointer: secondRoot, features: features)
      : WalkRules(registers, features: features)
    let controls = WalkRules.controls(registers, PagingMode(registers))
    if let rule, rule.formats.contains(format) { rule.spoil(&rules, controls) }
    return rules
  }

  /// The hardware model's second dimension.
  var dimension: SecondDimension {
    switch format {
    case .ept: .ept(eptp: secondRoot)
    case .npt: .npt(ncr3: secondRoot, levels: rootDepth == 5 ? .five : .four)
    default: .none
    }
  }

  /// What the hardware model is told of the processor; it keeps nothing between accesses.
  var processorFeatures: ProcessorFeatures {
    var answer = ProcessorFeatures()
    answer.vendor = features.vendor == .amd || format == .npt ? .amd : .intel
    answer.physicalBits = features.physicalBits
    answer.guestPhysicalBits = features.physicalBits
    answer.hasGigabytePages = features.hasGigabytePages
    answer.hasExecuteOnly = features.hasExecuteOnly
    answer.translationSets = 0
    answer.keepsWalks = false
    return answer
  }

  /// The number of bytes of an entry.
  var entryBytes: UInt64 { format == .bits32 ? 4 : 8 }

  /// Where the entry of `depth` that the address selects lies.
  func place(_ depth: Int) -> HostPhysical {
    let bits: UInt64 = format == .bits32 ? 10 : 9
    let index = address >> (12 + bits * UInt64(depth - 1)) & (1 << bits - 1)
    return HostPhysical(UInt64(depth) << 12 | index * entryBytes)
  }
}
