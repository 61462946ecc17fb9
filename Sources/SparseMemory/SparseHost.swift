public import HostMemory

/// The buffers of a host: its memory, and the records of its frames.
///
/// The owner must outlive the host that is made on it, and everything made on that.
@safe public final class SparseHost: @unchecked Sendable {
  private let bytes: SparseBuffer
  private let records: SparseBuffer

  /// Reserves a host of `byteCount` bytes, a multiple of 4096.
  public init(byteCount: UInt64) throws(SparseBuffer.Failure) {
    bytes = try SparseBuffer(byteCount: byteCount)
    let recordBytes = FrameRecords.byteCount(forFrames: byteCount >> 12)
    records = try SparseBuffer(byteCount: (recordBytes + 0xFFF) & ~0xFFF)
  }

  /// The bytes of host memory.
  public var memory: PhysicalMemory { bytes.memory }

  /// The host; made once.
  public func makeHost(_ options: HostMemory.Options = .init()) -> HostMemory {
    // SAFETY: the buffer is zeroed, large enough, and outlives the host by this class's contract.
    let table = unsafe FrameRecords(base: records.unsafeBase, frameCount: bytes.byteCount >> 12)
    return HostMemory(memory: bytes.memory, records: table, options: options)
  }
}
