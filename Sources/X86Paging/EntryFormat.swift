import Mutations
public import PagingUnits

/// How the entries of a guest's tables are laid out, as masks: the geometry of a walk as a value.
///
/// A walk reads every mask from here and never asks which format it is in; the three formats are
/// three values. A mask of 0 switches the thing off.
public struct EntryFormat: Hashable, Sendable {
  /// Which family of entries.
  public enum Family: UInt8, Hashable, Sendable, CaseIterable {
    /// 4-byte entries of 32-bit paging.
    case bits32
    /// 8-byte entries of PAE, 4-level and 5-level paging, and of NPT.
    case long
    /// EPT entries.
    case ept
  }

  /// Which family of entries.
  public var family: Family
  /// An entry is present when any of these is set.
  public var presentMask: UInt64
  /// The bits whose sense is turned around while rights accumulate: NX.
  public var flippedRights: UInt64
  /// Rights that an upper entry cannot withhold; none in any format.
  public var unaccumulatedRights: UInt64
  /// Where the execute right stands once flipped.
  public var executeShift: UInt64
  /// Where the user right stands, or the read right of EPT.
  public var userShift: UInt64
  /// The bit that makes an entry above level 1 a page; 0 where bit 7 is ignored.
  public var pageSizeBit: UInt64
  /// The accessed bit; 0 when entries have none.
  public var accessedBit: UInt64
  /// The dirty bit; 0 when entries have none.
  public var dirtyBit: UInt64
  /// The global bit; 0 when entries have none.
  public var globalBit: UInt64
  /// The bits of the frame, in place.
  public var frameMask: UInt64
  /// The bits of a large page's entry that extend its frame (PSE-36).
  public var highFrameMask: UInt64
  /// The base-2 logarithm of an entry's size in bytes: 2 or 3.
  public var entryShift: UInt64
  /// The number of bits of an index: 9 or 10.
  public var indexBits: UInt64

  /// 4-byte entries; 4 MiB pages exist only with CR4.PSE.
  ///
  /// - Parameters:
  ///   - largePages: whether CR4.PSE is 1.
  ///   - features: MAXPHYADDR says how many bits of a 4 MiB page's address there are.
  /// - Returns: the format.
  public static func bits32(largePages: Bool, features: PagingFeatures) -> EntryFormat {
    var format = EntryFormat.long
    format.family = .bits32
    format.pageSizeBit = largePages ? 1 << 7 : 0
    format.frameMask = 0xFFFF_F000
    format.highFrameMask = Bits32Layout.highFrame.mask & ~Bits32Layout.largeReserved(features)
    format.entryShift = 2
    format.indexBits = 10
    return format
  }

  /// 8-byte entries.
  public static let long = EntryFormat(
    family: .long, presentMask: 1, flippedRights: 1 << 63, unaccumulatedRights: 0,
    executeShift: 63, userShift: 2, pageSizeBit: 1 << 7, accessedBit: 1 << 5, dirtyBit: 1 << 6,
    globalBit: 1 << 8, frameMask: GuestEntryLayout.frame.mask, highFrameMask: 0, entryShift: 3,
    indexBits: 9)

  /// EPT entries; accessed and dirty bits exist only when the pointer says so.
  public static func ept(accessedDirty: Bool) -> EntryFormat {
    EntryFormat(
      family: .ept, presentMask: 0b111, flippedRights: 0, unaccumulatedRights: 0,
      executeShift: 2, userShift: 0, pageSizeBit: 1 << 7,
      accessedBit: accessedDirty ? 1 << 8 : 0, dirtyBit: accessedDirty ? 1 << 9 : 0, globalBit: 0,
      frameMask: EPTEntryLayout.frame.mask, highFrameMask: 0, entryShift: 3, indexBits: 9)
  }

  /// The position of the lowest address bit that an entry of `depth` translates.
  public func shift(at depth: Int) -> UInt64 {
    12 &+ indexBits &* UInt64(truncatingIfNeeded: depth &- 1)
  }

  /// The number of bytes that an entry of `depth` covers.
  public func byteCount(at depth: Int) -> UInt64 { 1 &<< shift(at: depth) }

  /// The rights that accumulated bits stand for.
  public func rights(_ accumulated: UInt64) -> AccessRights {
    let execute = (accumulated &>> executeShift) & 1
    let user = ((accumulated &>> userShift) & 1) &<< 2
    return AccessRights(rawValue: UInt8(truncatingIfNeeded: execute | (accumulated & 2) | user))
  }

  /// What one entry contributes to the rights, in place and flipped.
  public func contribution(of word: UInt64) -> UInt64 { word ^ flippedRights }

  /// The address of the page that a leaf of `depth` maps.
  public func pageAddress(of word: UInt64, at depth: Int) -> UInt64 {
    let page = word & frameMask & ~(byteCount(at: depth) &- 1)
    guard depth > 1 else { return page }
    if Mutation.highFrameBitsLost.isActive { return page }
    return page | ((word & highFrameMask) &<< 19)
  }
}
