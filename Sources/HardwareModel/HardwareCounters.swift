/// What a processor counts.
public struct HardwareCounters: Hashable, Sendable {
  /// Accesses answered by a kept translation.
  public var hits: UInt64 = 0
  /// Accesses that walked.
  public var misses: UInt64 = 0
  /// Entries of the guest's tables that were read.
  public var guestReferences: UInt64 = 0
  /// Entries of the second dimension that were read.
  public var secondReferences: UInt64 = 0
  /// Entries of sub-page-permission tables that were read.
  public var subpageReferences: UInt64 = 0
  /// Walks of either dimension shortened by something kept.
  public var walkHits: UInt64 = 0
  /// Accessed and dirty bits set.
  public var assists: UInt64 = 0

  /// Nothing counted yet.
  public init() {}
}
