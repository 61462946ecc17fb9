import X86Paging

/// A rule that can be spoilt on purpose, to see that the comparison notices.
///
/// Rules are a value, so that spoiling one of them changes the value and no code.
public enum BrokenRule: String, Hashable, Sendable, CaseIterable {
  /// Supervisor writes ignore read-only pages whatever CR0.WP says.
  case writeProtect = "write-protect"
  /// Fetches ignore NX.
  case noExecute = "no-execute"
  /// SMEP is ignored.
  case executionPrevention = "smep"
  /// SMAP is ignored.
  case accessPrevention = "smap"
  /// EFLAGS.AC exempts implicit accesses too.
  case implicitExemption = "ac-implicit"
  /// PKRU.AD is ignored.
  case keyAccess = "pkru-ad"
  /// PKRU.WD is ignored.
  case keyWrite = "pkru-wd"
  /// Bits beyond MAXPHYADDR are not reserved.
  case reservedAddress = "reserved-address"
  /// Bit 63 is not reserved while EFER.NXE is 0.
  case reservedNoExecute = "reserved-nx"
  /// Bit 7 is not reserved in entries of levels 4 and 5.
  case reservedPageSize = "reserved-page-size"
  /// The low address bits of large pages are not reserved.
  case reservedLargePage = "reserved-large-page"
  /// The user bit of upper entries does not count.
  case userAccumulation = "user-accumulation"
  /// The write bit of upper entries does not count.
  case writeAccumulation = "write-accumulation"
  /// Bits 39:32 of 4 MiB pages are ignored.
  case highFrame = "pse-36"
  /// EPT entries may be writable and not readable.
  case eptWriteOnly = "ept-write-only"
  /// EPT entries may be executable and not readable on processors without that capability.
  case eptExecuteOnly = "ept-execute-only"
  /// EPT entries may have any memory type.
  case eptMemoryType = "ept-memory-type"
  /// Writes do not set the dirty bit.
  case dirty = "dirty"
  /// The accessed bit is not set.
  case accessed = "accessed"
  /// Error codes never say that an access was a fetch.
  case fetchReport = "fetch-report"
  /// Every address is canonical.
  case canonical = "canonical"
  /// Sub-pages: vectors may have odd bits.
  case subpageOdd = "spp-odd-bits"
  /// Sub-pages: bits 11:1 of upper entries are ignored.
  case subpageReservedLow = "spp-reserved-low"
  /// Sub-pages: bits beyond MAXPHYADDR are ignored.
  case subpageReservedAddress = "spp-reserved-address"
  /// Sub-pages: bits 63:52 are ignored, as in EPT.
  case subpageReservedHigh = "spp-reserved-high"
  /// Sub-pages: an entry that is not valid must be well-formed all the same.
  case subpageValid = "spp-valid-first"
  /// Sub-pages: bit 0 of a vector says that it is there.
  case subpageVector = "spp-vector-present"
  /// Sub-pages: only the first byte of a write counts.
  case subpageCrossing = "spp-first-byte"
  /// Sub-pages: pages without bit 61 are judged as well.
  case subpageLeaf = "spp-leaf-bit"
  /// Sub-pages: large pages are judged as well.
  case subpageLargeLeaf = "spp-large-page"
  /// Sub-pages: what may not be read is judged as well.
  case subpageUnreadable = "spp-unreadable"
  /// Sub-pages: only the leaf's rights count.
  case subpageUpperRights = "spp-leaf-only"
  /// Sub-pages: accesses to the guest's tables are judged as well.
  case subpageGuestTables = "spp-guest-tables"
  /// Sub-pages: accesses without a linear address are judged as well.
  case subpageWithoutLinear = "spp-no-linear"
  /// Sub-pages: the control counts as 1.
  case subpageControl = "spp-control"
  /// Sub-pages: address bit 47 takes no part in the index of the topmost table.
  case subpageIndex = "spp-index"
  /// Sub-pages: a write that goes through leaves the page clean.
  case subpageDirty = "spp-dirty"

  /// The formats that have the rule.
  public var formats: [VerificationFormat] {
    switch self {
    case .writeProtect, .accessPrevention, .implicitExemption, .executionPrevention:
      [.bits32, .pae, .fourLevel, .fiveLevel]
    case .noExecute: [.pae, .fourLevel, .fiveLevel, .npt]
    case .reservedNoExecute: [.pae, .fourLevel, .fiveLevel]
    case .keyAccess, .keyWrite, .canonical: [.fourLevel, .fiveLevel]
    case .reservedAddress: [.pae, .fourLevel, .fiveLevel, .ept, .npt]
    case .reservedPageSize: [.fourLevel, .fiveLevel, .ept, .npt]
    case .highFrame: [.bits32]
    case .eptWriteOnly, .eptExecuteOnly, .eptMemoryType: [.ept]
    case .fetchReport: [.bits32, .pae, .fourLevel, .fiveLevel, .npt]
    case .reservedLargePage, .userAccumulation, .writeAccumulation, .dirty, .accessed:
      VerificationFormat.translating
    default: [.subpages]
    }
  }

  /// Spoils the rule in `rules`, which were made with these control bits.
  func spoil(_ rules: inout WalkRules, _ controls: PermissionTable.Controls) {
    switch self {
    case .writeProtect:
      rules.permissions = PermissionTable(controls.subtracting(.writeProtect))
    case .noExecute: rules.permissions = PermissionTable(controls.subtracting(.noExecute))
    case .executionPrevention:
      rules.permissions = PermissionTable(controls.subtracting(.executionPrevention))
    case .accessPrevention:
      rules.permissions = PermissionTable(controls.subtracting(.accessPrevention))
    case .implicitExemption: rules.permissions.neverExempt = []
    case .keyAccess: rules.permissions.keyMask &= 0xAAAA_AAAA
    case .keyWrite: rules.permissions.keyMask &= 0x5555_5555
    case .reservedAddress: unreserve(0x000F_FFFF_0000_0000, 1...5, &rules)
    case .reservedNoExecute: unreserve(1 << 63, 1...5, &rules)
    case .reservedPageSize: unreserve(1 << 7, 4...5, &rules)
    case .reservedLargePage: unreserve(0x3FFF_F000, 2...3, &rules)
    case .userAccumulation:
      rules.format.unaccumulatedRights |= 1 << rules.format.userShift
    case .writeAccumulation: rules.format.unaccumulatedRights |= 1 << 1
    case .highFrame: rules.format.highFrameMask = 0
    case .eptWriteOnly:
      permit(&rules) { access, typeIsBad, _ in
        !typeIsBad && (access == 0b010 || access == 0b110)
      }
    case .eptExecuteOnly: permit(&rules) { access, typeIsBad, _ in !typeIsBad && access == 0b100 }
    case .eptMemoryType: permit(&rules) { _, _, accessIsBad in !accessIsBad }
    case .dirty: rules.format.dirtyBit = 0
    case .accessed: rules.format.accessedBit = 0
    case .fetchReport: rules.reportsFetch = false
    case .canonical: rules.requiresCanonical = false
    // A rule of sub-pages, which no walk knows.
    default: break
    }
  }

  private func unreserve(
    _ bits: UInt64, _ depths: ClosedRange<Int>, _ rules: inout WalkRules
  ) {
    for depth in depths {
      rules.reserved.masks[depth - 1] &= ~bits
      rules.reserved.masks[depth + 4] &= ~bits
    }
  }

  /// Permits the low bits of EPT entries that `choice` names by their rights, by whether their
  /// memory type is bad alone, and by whether their rights are.
  private func permit(
    _ rules: inout WalkRules,
    _ choice: (_ access: UInt64, _ typeIsBad: Bool, _ accessIsBad: Bool) -> Bool
  ) {
    let bad = rules.reserved.badLowBits
    for low in 0..<64 as Range<UInt64> {
      let typeIsBad = bad >> (low & 0b111000 | 0b001) & 1 != 0
      let accessIsBad = bad >> (low & 0b000111) & 1 != 0
      guard choice(low & 0b111, typeIsBad, accessIsBad) else { continue }
      rules.reserved.badLowBits &= ~(1 << low)
    }
  }
}
