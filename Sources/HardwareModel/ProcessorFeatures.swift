/// What a processor can do, as CPUID and the VMX capability registers would say.
public struct ProcessorFeatures: Hashable, Sendable {
  /// Whose manual rules where the two differ.
  public enum Vendor: Hashable, Sendable { case intel, amd }

  /// Whose manual rules.
  public var vendor = Vendor.intel
  /// The processor's own MAXPHYADDR, 32…52: what entries of the second dimension may hold.
  public var physicalBits: UInt64 = 46
  /// The MAXPHYADDR that the guest sees, 32…52: what the guest's entries may hold.
  public var guestPhysicalBits: UInt64 = 46
  /// Whether the guest's tables may map 1 GiB pages.
  public var hasGigabytePages = true
  /// Whether EPT entries may be executable and not readable.
  public var hasExecuteOnly = true
  /// How many translations are kept: sets of four, a power of two of them; 0 keeps none.
  public var translationSets = 512
  /// Whether upper entries and guest-physical translations are kept between walks.
  public var keepsWalks = true

  /// An Intel processor with every feature.
  public init() {}
}
