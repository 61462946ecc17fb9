import Mutations
public import PagingUnits

/// An entry of a sub-page-permission table (SDM volume 3C, "Sub-Page Write Permissions").
///
/// Above level 1 it points to a table: bit 0 says that it is valid, and nothing but a frame may
/// stand beside it. At level 1 it *is* the permissions of a page: bit `2 * i` lets sub-page `i` be
/// written, odd bits are reserved, and no bit says whether the entry is there.
public struct SubpageEntry: Hashable, Sendable {
  /// The word as it lies in the table.
  public let raw: UInt64

  /// Wraps a word read from a table.
  public init(raw: UInt64) { self.raw = raw }

  /// No table.
  public static let empty = SubpageEntry(raw: 0)

  /// An entry that points to a table.
  public init(table frame: HostFrame) { raw = frame.number << 12 | 1 }

  /// An entry of level 1: the permissions of a page.
  public init(_ access: SubpageAccess) {
    // Each bit goes to twice its place, half by half.
    var word = UInt64(access.rawValue)
    word = (word | word << 16) & 0x0000_FFFF_0000_FFFF
    word = (word | word << 8) & 0x00FF_00FF_00FF_00FF
    word = (word | word << 4) & 0x0F0F_0F0F_0F0F_0F0F
    word = (word | word << 2) & 0x3333_3333_3333_3333
    word = (word | word << 1) & 0x5555_5555_5555_5555
    raw = Mutation.subpageVectorInOddBits.isActive ? word << 1 : word
  }

  /// Whether the entry leads to a table; not at level 1.
  public var isValid: Bool { raw & 1 != 0 }

  /// Whether the entry has a table, valid or set aside; not at level 1.
  public var hasTable: Bool { raw & SPTELayout.frameMask != 0 }

  /// The table that the entry points to.
  public var frame: HostFrame { HostFrame((raw & SPTELayout.frameMask) >> 12) }

  /// The entry with its table set aside: the next walk misses.
  public var invalidated: SubpageEntry { SubpageEntry(raw: raw & ~1) }

  /// What an entry of level 1 permits.
  public var access: SubpageAccess {
    var word = raw & 0x5555_5555_5555_5555
    word = (word | word >> 1) & 0x3333_3333_3333_3333
    word = (word | word >> 2) & 0x0F0F_0F0F_0F0F_0F0F
    word = (word | word >> 4) & 0x00FF_00FF_00FF_00FF
    word = (word | word >> 8) & 0x0000_FFFF_0000_FFFF
    word = (word | word >> 16) & 0x0000_0000_FFFF_FFFF
    return SubpageAccess(rawValue: UInt32(truncatingIfNeeded: word))
  }
}
