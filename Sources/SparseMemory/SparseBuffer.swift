import Glibc
public import HostMemory

/// A zeroed buffer of address space that costs memory only where it is touched.
///
/// This is how the roof gives a machine a terabyte of host memory on a laptop: the pages are
/// reserved from the operating system without being committed. The buffer is unmapped when its
/// owner ends, so the owner must outlive every window on it.
@safe public final class SparseBuffer: @unchecked Sendable {
  private let base: UnsafeMutableRawPointer
  /// The number of bytes.
  public let byteCount: UInt64

  /// Why a buffer could not be had.
  public enum Failure: Error, Hashable, Sendable {
    /// The size is zero, not a multiple of 4096, or beyond the address space.
    case size(UInt64)
    /// The operating system refused; its error number.
    case refused(byteCount: UInt64, errno: Int32)
  }

  /// Reserves `byteCount` zeroed bytes, a multiple of 4096.
  public init(byteCount: UInt64) throws(Failure) {
    guard byteCount > 0, byteCount & 0xFFF == 0, byteCount <= 1 << 46 else {
      throw .size(byteCount)
    }
    // SAFETY: an anonymous mapping at an address of the system's choice touches nothing of ours.
    let mapped = unsafe mmap(
      nil, Int(byteCount), PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | Int32(MAP_NORESERVE), -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else {
      throw .refused(byteCount: byteCount, errno: errno)
    }
    unsafe base = mapped
    self.byteCount = byteCount
  }

  deinit {
    // SAFETY: exactly the mapping made in `init`.
    unsafe _ = munmap(base, Int(byteCount))
  }

  /// The buffer as the memory of a host; the buffer must outlive it.
  public var memory: PhysicalMemory {
    // SAFETY: a mapping is page-aligned and zeroed; the owner keeps it for the window's life.
    unsafe PhysicalMemory(base: base, byteCount: byteCount)
  }

  /// The first byte, for tables that are laid over the buffer.
  @unsafe public var unsafeBase: UnsafeMutableRawPointer { unsafe base }
}
