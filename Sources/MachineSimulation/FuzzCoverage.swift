import MachineEvents

/// Which pairs of consecutive tracepoints have been seen.
public struct FuzzCoverage: Hashable, Sendable {
  private var seen = [UInt64](repeating: 0, count: 65536 / 64)
  /// How many pairs have been seen.
  public private(set) var count = 0

  /// Nothing was seen.
  public init() {}

  /// Sees one tracepoint after another, by their kinds; whether that is new.
  @inline(__always) mutating func see(_ kind: UInt8, after last: UInt8) -> Bool {
    let pair = Int(last) << 8 | Int(kind)
    let bit = UInt64(1) << UInt64(pair & 63)
    if seen[pair >> 6] & bit != 0 { return false }
    seen[pair >> 6] |= bit
    count += 1
    return true
  }
}
