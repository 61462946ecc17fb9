public import PagingUnits

/// One access that came to a leaf of the extended page tables, as far as sub-page write permissions
/// care.
public struct SubpageRequest: Hashable, Sendable {
  /// The guest-physical address of the first byte.
  public var address: GuestPhysical
  /// How many bytes; those beyond the page are another request's.
  public var byteCount: UInt64
  /// What the access does.
  public var kind: AccessKind
  /// What the address is used for.
  public var use: Use
  /// The leaf.
  public var leaf: UInt64
  /// The leaf's level.
  public var level: Level
  /// Bits 2:0 of every entry of the walk, all of which have them: read, write, execute.
  public var rights: UInt64

  /// What a guest-physical address is used for.
  public enum Use: Hashable, Sendable, CaseIterable {
    /// The translation of a linear address.
    case linear
    /// An entry of the guest's own tables.
    case table
    /// An access without a linear address.
    case physical
  }

  /// A request in full.
  public init(
    _ address: GuestPhysical, byteCount: UInt64, _ kind: AccessKind, _ use: Use, leaf: UInt64,
    level: Level, rights: UInt64
  ) {
    self.address = address
    self.byteCount = byteCount
    self.kind = kind
    self.use = use
    self.leaf = leaf
    self.level = level
    self.rights = rights
  }
}

/// What the rules say of an access.
public enum SubpageRuling: Hashable, Sendable {
  /// The rules have no part in it: the extended page tables alone decide.
  case notEligible
  /// Every sub-page that the write touches may be written; the vector of the page says so.
  case granted(vector: UInt64)
  /// Some sub-page that it touches may not be written: an EPT violation.
  case refused
  /// No vector is there: exit 66 with bit 11 of its qualification.
  case miss
  /// The tables are malformed: exit 66 without.
  case misconfiguration
}

/// The decision about a write to a page that is write-protected by sub-pages (SDM volume 3C,
/// "Sub-Page Write Permissions").
///
/// It knows nothing but its arguments: entries come from whoever asks, each only when it is needed.
/// The index takes bits 47:12 of an address and no others, whatever the depth of the extended page
/// tables.
public enum SubpagePermission {
  /// The bit of a 4 KiB leaf of the extended page tables.
  public static var leafBit: UInt64 { 1 << 61 }

  /// Whether a write is judged by sub-pages.
  ///
  /// The rights count together, not the leaf's alone; what is not readable is not eligible.
  public static func isEligible(_ request: SubpageRequest) -> Bool {
    request.kind == .write && request.use == .linear && request.level == .page4K
      && request.leaf & leafBit != 0 && request.rights & 0b011 == 0b001
  }

  /// What the rules say of an access.
  ///
  /// * `pointer`: the SPPTP field.
  /// * `physicalBits`: MAXPHYADDR.
  /// * `entry`: reads 8 bytes of host memory.
  public static func ruling(
    on request: SubpageRequest, pointer: UInt64, physicalBits: UInt64,
    reading entry: (HostPhysical) -> UInt64
  ) -> SubpageRuling {
    guard isEligible(request) else { return .notEligible }
    let address = request.address.raw
    let reserved = 0xFFF0_0000_0000_0FFE | EntryBits.beyond(physicalBits)
    var table = pointer & EntryBits.address
    var shift: UInt64 = 39
    while shift > 12 {
      let word = entry(HostPhysical(table + (address >> shift & 511) * 8))
      // Validity comes first: nothing else of an entry that is not valid is looked at.
      if word & 1 == 0 { return .miss }
      if word & reserved != 0 { return .misconfiguration }
      table = word & EntryBits.address
      shift -= 9
    }
    // The lowest entry is the vector itself, and bit 0 of it a sub-page like the others.
    let vector = entry(HostPhysical(table + (address >> 12 & 511) * 8))
    if vector & oddBits != 0 { return .misconfiguration }
    return permits(vector, address, request.byteCount) ? .granted(vector: vector) : .refused
  }

  /// The reserved bits of a vector.
  static var oddBits: UInt64 { 0xAAAA_AAAA_AAAA_AAAA }

  /// Whether a vector has the even bit of every sub-page from the first byte's to the last's.
  static func permits(_ vector: UInt64, _ address: UInt64, _ byteCount: UInt64) -> Bool {
    let first = address & 0xFFF
    let last = min(first + (byteCount - 1), 0xFFF)
    var subpage = first >> 7
    while subpage <= last >> 7 {
      if vector >> (2 * subpage) & 1 == 0 { return false }
      subpage += 1
    }
    return true
  }
}
