public import PagingUnits

/// The size of a block of host frames, as a power of two: order 0 is 4 KiB, 9 is 2 MiB, 18 is 1
/// GiB.
public struct FrameOrder: Hashable, Comparable, Sendable {
  /// The exponent, 0…18.
  public let exponent: UInt8

  /// Names an order by its exponent; traps outside 0…18.
  public init(_ exponent: Int) {
    precondition(0 <= exponent && exponent <= 18, "a block's order is 0 to 18")
    self.exponent = UInt8(truncatingIfNeeded: exponent)
  }

  /// The order of a page that one entry of `level` maps; traps above level 3.
  public init(_ level: Level) { self.init(9 * (Int(level.depth) - 1)) }

  /// One frame.
  public static let page4K = FrameOrder(0)
  /// The frames of a 2 MiB page.
  public static let page2M = FrameOrder(9)
  /// The frames of a 1 GiB page.
  public static let page1G = FrameOrder(18)

  /// The number of 4 KiB frames.
  public var frameCount: UInt64 { 1 &<< UInt64(exponent) }

  /// Orders blocks by size.
  public static func < (left: FrameOrder, right: FrameOrder) -> Bool {
    left.exponent < right.exponent
  }
}
