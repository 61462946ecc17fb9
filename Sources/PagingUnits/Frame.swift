/// The number of a 4 KiB page frame; a frame is not an address.
public protocol Frame: Hashable, Comparable, Sendable {
  /// The frame's number: its address divided by 4096.
  var number: UInt64 { get }
  /// Wraps a frame number.
  init(_ number: UInt64)
}

// `@inlinable` in this file: generic over the space, see `Address`.
extension Frame {
  /// The first frame of the naturally aligned region of `level` that holds this frame.
  @inlinable public func aligned(to level: Level) -> Self {
    Self(number & ~(level.frameCount &- 1))
  }

  /// The frame's position inside the naturally aligned region of `level`.
  @inlinable public func offset(in level: Level) -> UInt64 { number & (level.frameCount &- 1) }

  /// The frame `count` frames further; traps past 2^64.
  @inlinable public static func + (frame: Self, count: UInt64) -> Self {
    Self(frame.number + count)
  }

  /// The number of frames from `start` to `end`; traps when `end` lies before `start`.
  @inlinable public static func - (end: Self, start: Self) -> UInt64 { end.number - start.number }

  /// Orders frames by their number.
  @inlinable public static func < (left: Self, right: Self) -> Bool { left.number < right.number }
}

/// The number of a page frame in the guest's physical address space (KVM: `gfn_t`).
public struct GuestFrame: Frame {
  /// The frame's number: its guest-physical address divided by 4096.
  public let number: UInt64
  /// Wraps a frame number.
  public init(_ number: UInt64) { self.number = number }
  /// The guest-physical address of the frame's first byte.
  public var address: GuestPhysical { GuestPhysical(number << 12) }

  /// The index of the entry that covers this frame in a table of `level`, 0…511.
  public func index(at level: Level) -> Int {
    Int(truncatingIfNeeded: (number &>> (9 &* UInt64(level.depth &- 1))) & 511)
  }
}

/// The number of a page frame in the host's physical memory (KVM: `kvm_pfn_t`).
public struct HostFrame: Frame {
  /// The frame's number: its host-physical address divided by 4096.
  public let number: UInt64
  /// Wraps a frame number.
  public init(_ number: UInt64) { self.number = number }
  /// The host-physical address of the frame's first byte.
  public var address: HostPhysical { HostPhysical(number << 12) }
}
