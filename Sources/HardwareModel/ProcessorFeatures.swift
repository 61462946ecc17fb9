public import PagingUnits

/// What a processor can do, as CPUID and the VMX capability registers would say.
///
/// What a bit of a control register or of the EPT pointer already switches (NX, SMEP, SMAP,
/// protection keys, five levels, accessed and dirty bits of EPT) is not said again: a processor
/// without the feature refuses to set the bit.
public struct ProcessorFeatures: Hashable, Sendable {
  /// Whose manual rules where the two differ.
  public enum Vendor: Hashable, Sendable { case intel, amd }

  /// Whose manual rules.
  ///
  /// On AMD, bit 8 of entries at levels 4 and 5 must be 0 (APM volume 2, "Long-Mode Page
  /// Translation"), and kept translations are told apart by ASID alone, not by nCR3.
  public var vendor = Vendor.intel
  /// The processor's own MAXPHYADDR, 32…52: what entries of the second dimension may hold.
  public var physicalBits: UInt64 = 46
  /// The MAXPHYADDR that the guest sees, 32…52: what the guest's entries may hold.
  public var guestPhysicalBits: UInt64 = 46
  /// How many bits of physical address a 4 MiB page of 32-bit paging has, 32…40: 32 without
  /// PSE-36, 36 on its first processors; `nil` for what the manual says of the others, MAXPHYADDR
  /// but at most 40 (SDM volume 3A, "32-Bit Paging").
  public var largePageBits: UInt64?
  /// Whether the guest's tables may map 1 GiB pages.
  public var hasGigabytePages = true
  /// Whether EPT entries may be executable and not readable.
  public var hasExecuteOnly = true
  /// Whether the control "sub-page write permissions for EPT" may be 1.
  public var hasSubpagePermissions = true
  /// The largest page that the second dimension may map: level 1, 2 or 3.
  public var largestSecondPage = Level.page1G
  /// How many translations are kept: sets of four, a power of two of them; 0 keeps none.
  public var translationSets = 512
  /// Whether upper entries and guest-physical translations are kept between walks.
  public var keepsWalks = true

  /// An Intel processor with every feature.
  public init() {}
}
