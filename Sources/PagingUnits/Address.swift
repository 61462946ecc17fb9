/// A byte address in one of the four spaces that an access travels through.
///
/// GVA → GPA → HVA → HPA are four spaces and four types: an address of one space never turns into
/// an address of another except through the translation that says so.
public protocol Address: Hashable, Comparable, Sendable {
  /// The address as a number of bytes.
  var raw: UInt64 { get }
  /// Wraps a number of bytes.
  init(_ raw: UInt64)
}

// `@inlinable` in this file: these are generic over the space, and a generic that crosses a module
// bare costs five times a specialised one.
extension Address {
  /// The distance from the start of the 4 KiB page, 0…4095.
  @inlinable public var pageOffset: UInt64 { raw & 0xFFF }

  /// The start of the 4 KiB page.
  @inlinable public var pageStart: Self { Self(raw & ~0xFFF) }

  /// The distance from the start of the naturally aligned region of `level`.
  @inlinable public func offset(in level: Level) -> UInt64 { raw & (level.byteCount &- 1) }

  /// The start of the naturally aligned region of `level`.
  @inlinable public func aligned(to level: Level) -> Self { Self(raw & ~(level.byteCount &- 1)) }

  /// The address `count` bytes further, or `nil` past 2^64.
  @inlinable public func advanced(checking count: UInt64) -> Self? {
    let (sum, overflow) = raw.addingReportingOverflow(count)
    return overflow ? nil : Self(sum)
  }

  /// The address `count` bytes further; traps past 2^64.
  @inlinable public static func + (address: Self, count: UInt64) -> Self {
    Self(address.raw + count)
  }

  /// The number of bytes from `start` to `end`; traps when `end` lies before `start`.
  @inlinable public static func - (end: Self, start: Self) -> UInt64 { end.raw - start.raw }

  /// Orders addresses by their number.
  @inlinable public static func < (left: Self, right: Self) -> Bool { left.raw < right.raw }
}

/// An address in the guest's linear address space, before the guest's own paging (KVM: `gva_t`).
public struct GuestVirtual: Address {
  /// The address as a number of bytes.
  public let raw: UInt64
  /// Wraps a number of bytes.
  public init(_ raw: UInt64) { self.raw = raw }
}

/// An address in the guest's physical address space (KVM: `gpa_t`).
public struct GuestPhysical: Address {
  /// The address as a number of bytes.
  public let raw: UInt64
  /// Wraps a number of bytes.
  public init(_ raw: UInt64) { self.raw = raw }
  /// The frame that holds the address.
  public var frame: GuestFrame { GuestFrame(raw >> 12) }
}

/// An address in the host process whose memory is the guest's memory (KVM: `hva_t`).
public struct HostVirtual: Address {
  /// The address as a number of bytes.
  public let raw: UInt64
  /// Wraps a number of bytes.
  public init(_ raw: UInt64) { self.raw = raw }
}

/// An address in the host's physical memory, the arena of host frames (KVM: `hpa_t`).
public struct HostPhysical: Address {
  /// The address as a number of bytes.
  public let raw: UInt64
  /// Wraps a number of bytes.
  public init(_ raw: UInt64) { self.raw = raw }
  /// The frame that holds the address.
  public var frame: HostFrame { HostFrame(raw >> 12) }
}
