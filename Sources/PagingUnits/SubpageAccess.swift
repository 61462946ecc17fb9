/// Which of the 32 sub-pages of a page, of 128 bytes each, may be written: bit `i` is 1 when bytes
/// `128 * i` to `128 * i + 127` may.
///
/// Intel's sub-page write permissions (SDM volume 3C, "Sub-Page Write Permissions"), in the terms
/// of whoever sets them; the processor's own vector of 64 bits is another thing.
public struct SubpageAccess: Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt32
  /// Wraps the bits.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// How many sub-pages a page has.
  public static var count: Int { 32 }
  /// How many bytes a sub-page has.
  public static var byteCount: UInt64 { 128 }

  /// Every sub-page may be written: the page is not protected.
  public static var all: SubpageAccess { SubpageAccess(rawValue: .max) }
  /// No sub-page may be written.
  public static var none: SubpageAccess { SubpageAccess(rawValue: 0) }

  /// Whether any sub-page may not be written.
  public var isProtected: Bool { rawValue != .max }

  /// Whether one sub-page, 0..<32, may be written.
  public subscript(index: Int) -> Bool {
    precondition(0 <= index && index < Self.count, "a page has 32 sub-pages")
    return rawValue &>> UInt32(truncatingIfNeeded: index) & 1 != 0
  }

  /// The sub-pages that bytes of a page touch.
  ///
  /// * `offset`: of the first byte in its page, 0…4095.
  /// * `count`: how many bytes, at least one; those beyond the page are another page's.
  public static func touched(from offset: UInt64, count: UInt64) -> SubpageAccess {
    precondition(offset < 4096 && count > 0, "an access touches a byte of its page")
    let first = UInt32(truncatingIfNeeded: offset / byteCount)
    let end = min(offset.addingReportingOverflow(count - 1).partialValue, 4095)
    let last = UInt32(truncatingIfNeeded: max(end, offset) / byteCount)
    return SubpageAccess(rawValue: (UInt32.max &>> (31 &- (last &- first))) &<< first)
  }

  /// Whether every one of these sub-pages may be written.
  public func permits(_ touched: SubpageAccess) -> Bool { touched.rawValue & ~rawValue == 0 }
}
