import PagingUnits

/// What a walk of the guest's tables is for.
struct Walk {
  let linear: UInt64
  let access: HardwareAccess
  let tag: TranslationTag
  let dimension: SecondDimension

  init(
    linear: UInt64, access: HardwareAccess, tag: TranslationTag, _ dimension: SecondDimension
  ) {
    self.linear = linear
    self.access = access
    self.tag = tag
    self.dimension = dimension
  }

  var writes: Bool { access.writes }
}

/// Where a walk of the guest's tables starts.
enum WalkStart {
  /// At the lowest table that is kept, if any is.
  case lowest
  /// It started below the top, at a table that is kept.
  case below
  /// At the top, whatever is kept.
  case top
}

/// What an attempt at a walk comes to.
enum WalkStep {
  /// A translation that permits the access.
  case found
  /// A fault or an exit, which stands in `Processor.refusal`.
  case refused
  /// An entry changed between its reading and its marking: once more.
  case changed
}

/// The entries that a walk read, by depth, and their places in the host; index 0 is not used.
struct WalkTrail {
  var places = InlineArray<6, UInt64>(repeating: 0)
  var entries = InlineArray<6, UInt64>(repeating: 0)

  @inline(__always) init() {}
}

/// What entries say together.
struct GatheredBits {
  /// The bits that all of them have.
  var all = UInt64.max
  /// The bits that any of them has.
  var any: UInt64 = 0

  @inline(__always) mutating func gather(_ entry: UInt64) {
    all &= entry
    any |= entry
  }

  /// What entries of every format but EPT's grant together.
  @inline(__always) var rights: GuestRights {
    GuestRights(
      rawValue: UInt8(truncatingIfNeeded: (all &>> 1 & 3) | (~any &>> 63) &<< 2))
  }
  var accessed: Bool { all & EntryBits.accessed != 0 }
}

/// Bits of entries of every format but EPT's.
enum EntryBits {
  static let present: UInt64 = 1 << 0
  static let write: UInt64 = 1 << 1
  static let user: UInt64 = 1 << 2
  static let accessed: UInt64 = 1 << 5
  static let dirty: UInt64 = 1 << 6
  static let pageSize: UInt64 = 1 << 7
  static let global: UInt64 = 1 << 8
  static let noExecute: UInt64 = 1 << 63

  /// The address of a table or a 4 KiB page.
  static let address: UInt64 = 0x000F_FFFF_FFFF_F000
  /// All that an address can have.
  static let physical: UInt64 = 0x000F_FFFF_FFFF_FFFF

  /// The address bits beyond MAXPHYADDR.
  @inline(__always) static func beyond(_ physicalBits: UInt64) -> UInt64 {
    physical & ~(1 &<< physicalBits &- 1)
  }
}
