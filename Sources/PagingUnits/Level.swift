/// A level of a page table, counted from the leaves: 1 maps 4 KiB an entry, 5 maps 256 TiB.
///
/// KVM: `PG_LEVEL_4K` … `PG_LEVEL_256T`.
public struct Level: Hashable, Comparable, Sendable {
  /// The number of the level, 1…5.
  public let depth: UInt8

  /// Names a level by its number; traps outside 1…5.
  public init(_ depth: Int) {
    precondition(1 <= depth && depth <= 5, "a page-table level is 1, 2, 3, 4 or 5")
    self.depth = UInt8(truncatingIfNeeded: depth)
  }

  // The levels are computed, not stored: a stored static of another module is reached through an
  // accessor that runs once and cannot be folded.
  @inline(__always) private init(known depth: UInt8) { self.depth = depth }

  /// Level 1: an entry maps 4 KiB.
  public static var page4K: Level { Level(known: 1) }
  /// Level 2: an entry maps 2 MiB or points to a level-1 table.
  public static var page2M: Level { Level(known: 2) }
  /// Level 3: an entry maps 1 GiB or points to a level-2 table.
  public static var page1G: Level { Level(known: 3) }
  /// Level 4: an entry points to a level-3 table (512 GiB).
  public static var level4: Level { Level(known: 4) }
  /// Level 5: an entry points to a level-4 table (256 TiB).
  public static var level5: Level { Level(known: 5) }

  /// The number of bytes that one entry of this level covers.
  public var byteCount: UInt64 { 1 &<< (12 &+ 9 &* UInt64(depth &- 1)) }

  /// The number of 4 KiB frames that one entry of this level covers.
  public var frameCount: UInt64 { 1 &<< (9 &* UInt64(depth &- 1)) }

  /// The level of the tables that this level's entries point to; `nil` below level 1.
  public var below: Level? { depth > 1 ? Level(known: depth &- 1) : nil }

  /// The level above; `nil` above level 5.
  public var above: Level? { depth < 5 ? Level(known: depth &+ 1) : nil }

  /// Orders levels by their height above the leaves.
  public static func < (left: Level, right: Level) -> Bool { left.depth < right.depth }
}
