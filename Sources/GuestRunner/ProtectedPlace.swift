/// What of a guest's memory it may not write.
public enum ProtectedPlace: Hashable, Sendable {
  /// These guest-physical bytes.
  case bytes(Range<UInt64>)
  /// What the image calls so: a function or an object with a size.
  case symbol(String)
}

/// A write of the guest's to protected memory.
public struct RefusedWrite: Hashable, Sendable {
  /// The instruction.
  public var instruction: UInt64
  /// The guest-physical address of the first byte.
  public var address: UInt64
  /// The linear address of the first byte.
  public var linear: UInt64
  /// The bytes before, lowest first.
  public var old: [UInt8]
  /// The bytes after; empty where the write was not let through.
  public var new: [UInt8]
}
