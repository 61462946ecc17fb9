/// One of the entry formats whose rules are compared with the hardware model's.
public enum VerificationFormat: String, Hashable, Sendable, CaseIterable {
  /// 32-bit paging, with and without 4 MiB pages.
  case bits32 = "32-bit"
  /// PAE paging.
  case pae = "pae"
  /// 4-level paging.
  case fourLevel = "4-level"
  /// 5-level paging.
  case fiveLevel = "5-level"
  /// Extended page tables of 4 and 5 levels.
  case ept = "ept"
  /// Nested page tables of 4 and 5 levels.
  case npt = "npt"
  /// Sub-page write permissions of EPT.
  case subpages = "spp"

  /// The formats of tables that translate.
  static let translating: [VerificationFormat] = allCases.filter { $0 != .subpages }

  /// Whether the tables translate guest-physical addresses.
  var isSecondDimension: Bool { self == .ept || self == .npt }
}
