public import PagingUnits

/// Where in memory a frame has to lie (KVM: `__GFP_DMA32`).
public enum FrameZone: Hashable, Sendable {
  /// Anywhere.
  case anywhere
  /// Below 4 GiB, where a register of 32 bits can point.
  case below4G

  /// The first frame number that lies behind the zone.
  var end: UInt64 { self == .below4G ? 1 << 20 : .max }

  /// Whether a frame lies in the zone.
  public func contains(_ frame: HostFrame) -> Bool { frame.number < end }
}
