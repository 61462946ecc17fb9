public import PagingUnits

/// What an instruction, or a hypervisor, makes a processor forget (SDM volume 3A, "Operations that
/// Invalidate TLBs and Paging-Structure Caches"; volume 3C, "Invalidating Cached Translation
/// Information").
///
/// The guest's own instructions reach the translations of the current VPID or ASID, through
/// whatever root of the second dimension they came.
public enum Invalidation: Hashable, Sendable {
  /// Everything, whatever its tag.
  case everything
  /// Everything that came through one root of the second dimension (INVEPT, single-context); for
  /// NPT, whose translations bear no root, everything that came through any NPT.
  case root(SecondDimension)
  /// Everything that came through a second dimension (INVEPT, all-context).
  case allRoots

  /// Every linear translation, global ones too (MOV to CR4 that changes PGE, INVPCID type 2).
  case allLinear
  /// Every linear translation of the current PCID that is not global (MOV to CR3).
  case currentSpace
  /// Every linear translation of one PCID that is not global (INVPCID type 1).
  case space(pcid: UInt16)
  /// Every linear translation that is not global, of any PCID (INVPCID type 3).
  case allSpaces
  /// One address in the current PCID, and global (INVLPG).
  case linearAddress(GuestVirtual)
  /// One address in one PCID, global ones excepted (INVPCID type 0).
  case linearAddressIn(pcid: UInt16, GuestVirtual)

  /// One address of one VPID, in any PCID and global (INVVPID type 0; INVLPGA for an ASID).
  case linearAddressOf(identifier: UInt16, GuestVirtual)
  /// Every linear translation of one VPID or ASID (INVVPID type 1; TLB_CONTROL 3 of VMRUN).
  case identifier(UInt16)
  /// Every linear translation of one VPID or ASID that is not global (INVVPID type 3; TLB_CONTROL 7
  /// of VMRUN).
  case identifierExceptGlobal(UInt16)
  /// Every linear translation of every VPID but 0 (INVVPID type 2).
  case allIdentifiers
}
