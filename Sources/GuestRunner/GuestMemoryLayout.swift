/// Where the guest's memory lies in its physical address space, as on a PC: up to 3 GiB from 0 on,
/// the rest from 4 GiB on.
public struct GuestMemoryLayout: Hashable, Sendable {
  /// The number of bytes, a multiple of 4096.
  public let byteCount: UInt64

  private static let hole: UInt64 = 0xC000_0000
  private static let afterHole: UInt64 = 0x1_0000_0000

  /// A layout of `byteCount` bytes, rounded up to whole frames.
  public init(byteCount: UInt64) {
    let limit: UInt64 = 1 << 46
    self.byteCount = (min(byteCount, limit) + 0xFFF) & ~0xFFF
  }

  /// The first address after the memory that starts at 0.
  public var lowEnd: UInt64 { min(byteCount, Self.hole) }

  /// The memory from 4 GiB on, in bytes.
  public var highByteCount: UInt64 { byteCount - lowEnd }

  /// The first address after the memory from 4 GiB on.
  public var highEnd: UInt64 { Self.afterHole + highByteCount }

  /// Where memory from 4 GiB on starts.
  public static var highStart: UInt64 { afterHole }

  /// A range of the memory map.
  struct Range: Hashable {
    var address: UInt64
    var byteCount: UInt64
    var isUsable: Bool
  }

  /// The memory map of a PC: the first 640 KiB, the firmware's area, the rest.
  var map: [Range] {
    var ranges: [Range] = []
    func add(_ start: UInt64, _ end: UInt64, isUsable: Bool) {
      let end = min(end, lowEnd)
      if start < end {
        ranges.append(Range(address: start, byteCount: end - start, isUsable: isUsable))
      }
    }
    add(0, 0x9_FC00, isUsable: true)
    add(0x9_FC00, 0xA_0000, isUsable: false)
    add(0xF_0000, 0x10_0000, isUsable: false)
    add(0x10_0000, lowEnd, isUsable: true)
    if highByteCount > 0 {
      ranges.append(
        Range(address: Self.afterHole, byteCount: highByteCount, isUsable: true))
    }
    return ranges
  }

  /// KiB below 1 MiB, at most 640.
  var lowerKibibytes: UInt64 { min(lowEnd, 0xA_0000) >> 10 }
  /// KiB from 1 MiB on up to the hole.
  var upperKibibytes: UInt64 { lowEnd > 0x10_0000 ? (lowEnd - 0x10_0000) >> 10 : 0 }
}
