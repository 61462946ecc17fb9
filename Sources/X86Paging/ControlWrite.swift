public import PagingUnits

/// What became of an instruction that writes a control register.
public enum ControlWrite: Hashable, Sendable {
  /// The registers after the write, and what follows from it.
  ///
  /// With `reloadPDPTEs` the write stands only if the four PDPTEs load; otherwise the instruction
  /// raises #GP and the registers stay as they were.
  case written(ControlRegisters, ControlWriteEffects)
  /// The instruction raises #GP(0) and changes nothing.
  case refused(ControlWriteRefusal)
}

/// Why a write to a control register raises #GP (SDM volume 3A, "Control Registers"; KVM:
/// `kvm_set_cr0`, `kvm_set_cr3`, `kvm_set_cr4`, `set_efer`).
public enum ControlWriteRefusal: UInt8, Hashable, Sendable, CaseIterable {
  /// A bit is set that does not exist, or that the processor lacks.
  case reservedBit
  /// CR0.NW is 1 and CR0.CD is 0.
  case notWriteThroughWhileCaching
  /// CR0.PG is 1 and CR0.PE is 0.
  case pagingWithoutProtection
  /// Paging starts with EFER.LME while CR4.PAE is 0.
  case longModeWithoutPAE
  /// Paging starts with EFER.LME in a 64-bit code segment.
  case longModeFrom64BitCode
  /// Paging ends in 64-bit code.
  case pagingEndsIn64BitCode
  /// Paging ends while CR4.PCIDE is 1.
  case pagingEndsWithContextIdentifiers
  /// CR4.PAE is cleared in long mode.
  case longModeNeedsPAE
  /// CR4.LA57 changes in long mode.
  case levelsChangeInLongMode
  /// CR4.PCIDE is set outside long mode.
  case contextIdentifiersOutsideLongMode
  /// CR4.PCIDE is set while CR3[11:0] is not 0.
  case contextIdentifiersWithLowBits
  /// EFER.LME changes while paging is on.
  case longModeChangesWhilePaging
}

/// What follows from a write to a control register.
public struct ControlWriteEffects: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt16
  /// Wraps the bits.
  public init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The four PDPTE registers are loaded from CR3.
  public static let reloadPDPTEs = Self(rawValue: 1)
  /// The rules are computed again, and every root is dropped (KVM: `kvm_mmu_reset_context`).
  public static let resetContext = Self(rawValue: 2)
  /// The rules are computed again; roots of two-dimensional paging stay (CR0.WP alone changed).
  public static let refreshRules = Self(rawValue: 4)
  /// CR3 names another address space (KVM: `kvm_mmu_new_pgd`).
  public static let newRoot = Self(rawValue: 8)
  /// All translations of the processor go, global ones too.
  public static let flushAll = Self(rawValue: 16)
  /// All translations of the current root go.
  public static let flushCurrent = Self(rawValue: 32)
  /// The translations of the context that CR3 names go (KVM: `kvm_invalidate_pcid`).
  public static let flushContext = Self(rawValue: 64)
  /// Roots of shadow paging are dropped (CR4.PCIDE was set).
  public static let dropShadowRoots = Self(rawValue: 128)
}

/// How the code segment that executes a write sees addresses.
public enum CodeSegmentWidth: UInt8, Hashable, Sendable, CaseIterable {
  /// CS.L is 0: 16- or 32-bit code, or compatibility mode.
  case narrow
  /// CS.L is 1: 64-bit code.
  case bits64
}
