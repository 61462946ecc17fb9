/// What a guest's processor can do, as far as the format of its tables is concerned.
public struct PagingFeatures: Hashable, Sendable {
  /// Whose manual rules where the two differ.
  public enum Vendor: UInt8, Hashable, Sendable, CaseIterable {
    /// Intel.
    case intel
    /// AMD: bit 8 is reserved in entries of levels 5 and 4.
    case amd
  }

  /// MAXPHYADDR as the guest sees it, 32…52.
  public var physicalBits: UInt64 = 46
  /// Whose manual rules.
  public var vendor = Vendor.intel
  /// Whether 4- and 5-level tables may map 1 GiB pages.
  public var hasGigabytePages = true
  /// Whether EPT-shaped tables may map 2 MiB pages.
  public var hasMegabyteEPTPages = true
  /// Whether EPT-shaped tables may map 1 GiB pages.
  public var hasGigabyteEPTPages = true
  /// Whether EPT-shaped entries may be executable and not readable.
  public var hasExecuteOnly = true

  /// Every feature, with 46 bits of physical address.
  public init() {}

  /// Every feature, with `physicalBits` bits of physical address.
  public init(physicalBits: UInt64) { self.physicalBits = physicalBits }

  /// The bits of a physical address that lie beyond MAXPHYADDR.
  var reservedAddressBits: UInt64 {
    precondition(32...52 ~= physicalBits, "MAXPHYADDR is 32 to 52 bits")
    return UInt64.max &<< physicalBits
  }
}
