/// A file of the host: bytes that follow from a seed, kept in a page cache once they were read.
public struct HostFile: Hashable, Sendable {
  /// The seed from which every byte follows.
  public let seed: UInt64
  /// The length, a multiple of 4096.
  public let byteCount: UInt64

  /// A file of `byteCount` bytes; traps when they are not whole pages.
  public init(seed: UInt64, byteCount: UInt64) {
    precondition(byteCount & 0xFFF == 0, "a file is whole pages")
    self.seed = seed
    self.byteCount = byteCount
  }

  /// The 8-byte word number `index` of the file before anybody writes to it (SplitMix64).
  public func word(_ index: UInt64) -> UInt64 {
    var mixed = seed &+ (index &+ 1) &* 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed &>> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed &>> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed &>> 31)
  }
}

/// Names a file that the host process has opened.
public struct HostFileID: Hashable, Sendable {
  let index: UInt32
}

/// What becomes of a write to a mapped file.
public enum HostFileSharing: UInt8, Hashable, Sendable {
  /// The page cache is written, for all to see (Linux: `MAP_SHARED`).
  case shared
  /// The writer gets a copy of its own (Linux: `MAP_PRIVATE`).
  case copyOnWrite
}
