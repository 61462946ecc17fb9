import PagingUnits

/// Where in host memory the pages of a process come to lie.
public enum FrameScatter: Hashable, Sendable {
  /// Wherever the allocator finds a block first: mostly side by side.
  case packed
  /// Spread over the lowest `frames` frames of the host by a sequence that visits each of them, so
  /// that neighbours in the guest are no neighbours in the host; the seed chooses the sequence.
  case scattered(frames: UInt64, seed: UInt64)
}

/// A sequence of places that spreads evenly from its first element on: multiples of an odd stride
/// near the golden section, modulo a power of two (a Weyl sequence).
struct ScatterSequence {
  private let mask: UInt64
  private let stride: UInt64
  private var place: UInt64

  /// Places below the largest power of two that is not above `frames`.
  init(frames: UInt64, seed: UInt64) {
    let span: UInt64 = frames == 0 ? 1 : 1 &<< UInt64(63 - frames.leadingZeroBitCount)
    mask = span - 1
    stride = (0x9E37_79B9_7F4A_7C15 &>> UInt64(span.leadingZeroBitCount)) | 1
    place = (seed &* 0xD134_2543_DE82_EF95) & mask
  }

  /// The next place for a block of `order`, aligned to it.
  mutating func next(_ order: FrameOrder) -> HostFrame {
    place = (place &+ stride) & mask
    return HostFrame(place & ~(order.frameCount - 1))
  }
}
