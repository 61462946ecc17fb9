import Mutations
public import PageTables
public import PagingUnits
import X86Paging

/// How a guest's registers have its tables read: what tells the shadow of one mode from that of
/// another (KVM: `kvm_cpu_role`).
public struct ProcessorRole: Hashable, Sendable {
  /// The part that is identity of shadow pages; its depth is the guest's, 0 with paging off.
  public var base: ShadowPageRole
  /// The part that only the walk of the guest's tables depends on.
  public var details: Extension

  /// What the walk depends on beside the identity of shadow pages (KVM:
  /// `kvm_mmu_extended_role`).
  public struct Extension: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// Wraps the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// CR4.PSE.
    public static let pageSizeExtensions = Extension(rawValue: 1)
    /// CR4.PKE in long mode.
    public static let protectionKeys = Extension(rawValue: 2)
    /// CR4.SMAP.
    public static let accessPrevention = Extension(rawValue: 4)
    /// CR4.SMEP.
    public static let executionPrevention = Extension(rawValue: 8)
    /// CR4.LA57 in long mode.
    public static let fiveLevels = Extension(rawValue: 16)
    /// EFER.LMA.
    public static let longMode = Extension(rawValue: 32)
  }

  /// A role in full.
  public init(base: ShadowPageRole, details: Extension) {
    self.base = base
    self.details = details
  }

  /// The role of a guest's own tables (KVM: `kvm_calc_cpu_role`).
  ///
  /// With paging off no other control bit counts.
  public init(_ registers: borrowing ControlRegisters, in space: AddressSpace) {
    base = .shadow(of: Mutation.smmNotInRole.isActive ? .normal : space)
    details = []
    let mode = PagingMode(registers)
    guard let root = mode.rootLevel else {
      base.mapsLinearly = true
      return
    }
    base.depth = Int(root.depth)
    base.hasShortEntries = mode == .bits32
    base.hasNoExecute = EFERLayout.noExecute.isSet(in: registers.efer)
    let largePages = CR4Layout.pageSizeExtensions.isSet(in: registers.cr4)
    base.ignoresPageSize =
      mode == .bits32 && !largePages && !Mutation.pageSizeBitNotInRole.isActive
    base.reservesNoExecute = mode != .bits32 && !base.hasNoExecute
    if Mutation.eferNXENotInRole.isActive {
      (base.hasNoExecute, base.reservesNoExecute) = (true, false)
    }
    let respects = CR0Layout.writeProtect.isSet(in: registers.cr0)
    let smep = CR4Layout.executionPrevention.isSet(in: registers.cr4)
    let smap = CR4Layout.accessPrevention.isSet(in: registers.cr4)
    base.respectsWriteProtection = respects
    base.preventsExecutionWithoutWP =
      smep && !respects && !Mutation.smepVariantNotInRole.isActive
    base.preventsAccessWithoutWP = smap && !respects && !Mutation.smapVariantNotInRole.isActive
    if smep { details.insert(.executionPrevention) }
    if smap && !Mutation.cr4SMAPToggleNoReset.isActive { details.insert(.accessPrevention) }
    if CR4Layout.pageSizeExtensions.isSet(in: registers.cr4) {
      details.insert(.pageSizeExtensions)
    }
    guard mode.isLong else { return }
    details.insert(.longMode)
    if CR4Layout.protectionKeys.isSet(in: registers.cr4) { details.insert(.protectionKeys) }
    if mode == .fiveLevel { details.insert(.fiveLevels) }
  }

  /// Whether the guest uses tables.
  public var isPaged: Bool { base.depth > 0 }

  /// The role of the tables that the hardware walks for such a guest (KVM:
  /// `kvm_init_shadow_mmu`): at least PAE paging, with execute-disable bits.
  public var rootRole: ShadowPageRole {
    var role = base
    role.depth = max(role.depth, 3)
    role.hasNoExecute = true
    if Mutation.wpNotInRole.isActive { role.respectsWriteProtection = false }
    return role
  }

  /// The role of the tables that shadow a guest's nested page tables (KVM:
  /// `kvm_init_shadow_npt_mmu`).
  ///
  /// * `levels`: how many levels the host's own nested page tables have.
  public func nestedRootRole(levels: Level) -> ShadowPageRole {
    var role = base
    role.isPassthrough = levels == .level5 && role.depth == 4
    role.depth = Int(levels.depth)
    return role
  }

  /// The role by which a guest's nested page tables are read: the guest's as a host, in its CR4 and
  /// EFER, with CR0.WP clear.
  public static func nested(
    _ host: borrowing ControlRegisters, in space: AddressSpace
  ) -> ProcessorRole {
    var registers = ControlRegisters()
    registers.cr0 = CR0Layout.paging.mask
    registers.cr4 = host.cr4 & ~CR4Layout.protectionKeys.mask
    registers.efer = host.efer
    var role = ProcessorRole(registers, in: space)
    role.base.isGuestMode = true
    return role
  }
}

extension ShadowPageRole {
  /// Whether a root of this role, over a guest's tables of `depth` levels, is a special one: no
  /// table of the guest's stands behind it.
  ///
  /// It is for roots of PAE paging, and for those whose guest's root is smaller than three levels
  /// of 512 entries.
  public func isSpecialRoot(overDepth depth: Int) -> Bool {
    isDirect ? self.depth == 3 : depth <= 3
  }
}
