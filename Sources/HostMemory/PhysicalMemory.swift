public import PagingUnits
import Synchronization

/// The bytes of host memory: a window on a buffer that somebody else owns, addressed by
/// `HostPhysical` from 0.
///
/// This is a small value that every room copies; it owns nothing. The roof maps the buffer without
/// committing it, so that a terabyte can be addressed on any machine. Every step is bounds-checked:
/// an address outside the buffer is our own mistake and traps, and callers that follow addresses
/// found in guest-owned bytes ask `contains` first.
///
/// Entries of page tables are read and written as single atomic words, because a processor and the
/// MMU, or two processors, work on the same table at the same time.
@safe public struct PhysicalMemory: @unchecked Sendable {
  // SAFETY: whoever makes a window keeps its bytes for as long as any copy of it lives.
  private let base: UnsafeMutableRawPointer
  /// The number of bytes, a multiple of 4096.
  public let byteCount: UInt64

  /// A window on `byteCount` zeroed bytes at `base`, page-aligned, that outlive every copy of it.
  ///
  /// Traps when the buffer is not page-aligned or not whole frames.
  @unsafe public init(base: UnsafeMutableRawPointer, byteCount: UInt64) {
    precondition(UInt(bitPattern: base) & 0xFFF == 0, "host memory starts on a page boundary")
    precondition(byteCount & 0xFFF == 0, "host memory is whole 4 KiB frames")
    unsafe self.base = base
    self.byteCount = byteCount
  }

  /// The number of 4 KiB frames.
  public var frameCount: UInt64 { byteCount >> 12 }

  /// The buffer's first byte, for an outside processor that maps the same memory.
  @unsafe public var unsafeBase: UnsafeMutableRawPointer { unsafe base }

  /// Whether `count` bytes from `address` on lie inside.
  public func contains(_ address: HostPhysical, count: UInt64) -> Bool {
    address.raw <= byteCount && count <= byteCount &- address.raw
  }

  /// Whether the whole frame lies inside.
  public func contains(_ frame: HostFrame) -> Bool { frame.number < frameCount }

  private func pointer(_ address: HostPhysical, _ count: UInt64) -> UnsafeMutableRawPointer {
    precondition(contains(address, count: count), "a host-physical address lies inside the arena")
    // SAFETY: the range was checked against the buffer's size.
    return unsafe base + Int(truncatingIfNeeded: address.raw)
  }

  private func word(_ address: HostPhysical) -> UnsafeMutablePointer<Atomic<UInt64>> {
    precondition(address.raw & 7 == 0, "an entry is 8-byte aligned")
    // SAFETY: in bounds and aligned; `Atomic<UInt64>` has the layout of `UInt64`.
    return unsafe pointer(address, 8).assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  private func halfWord(_ address: HostPhysical) -> UnsafeMutablePointer<Atomic<UInt32>> {
    precondition(address.raw & 3 == 0, "a 4-byte entry is 4-byte aligned")
    // SAFETY: in bounds and aligned; `Atomic<UInt32>` has the layout of `UInt32`.
    return unsafe pointer(address, 4).assumingMemoryBound(to: Atomic<UInt32>.self)
  }

  // MARK: Entries

  /// Reads an 8-byte entry in one piece.
  public func entry(at address: HostPhysical) -> UInt64 {
    // SAFETY: `word` is in bounds.
    unsafe word(address).pointee.load(ordering: .acquiring)
  }

  /// Reads an 8-byte entry at an address that guest-owned bytes gave: what lies outside memory, or
  /// across entries, reads as all ones, as an open bus does.
  public func entryOrOnes(at address: HostPhysical) -> UInt64 {
    guard address.raw < byteCount, address.raw & 7 == 0 else { return .max }
    // SAFETY: an aligned address below the size, which is whole frames, has its 8 bytes inside.
    let place = unsafe base + Int(truncatingIfNeeded: address.raw)
    return unsafe place.assumingMemoryBound(to: Atomic<UInt64>.self)
      .pointee.load(ordering: .acquiring)
  }

  /// The same for a 4-byte entry.
  public func entry32OrOnes(at address: HostPhysical) -> UInt32 {
    guard address.raw < byteCount, address.raw & 3 == 0 else { return .max }
    // SAFETY: an aligned address below the size, which is whole frames, has its 4 bytes inside.
    let place = unsafe base + Int(truncatingIfNeeded: address.raw)
    return unsafe place.assumingMemoryBound(to: Atomic<UInt32>.self)
      .pointee.load(ordering: .acquiring)
  }

  /// The index, from `first` on, of the first 8-byte entry of a frame that is not `word`; `nil`
  /// when the rest of the frame is nothing else.
  public func firstEntry(in frame: HostFrame, from first: Int, unlike word: UInt64) -> Int? {
    precondition(0 <= first, "entries are numbered from 0")
    let start = unsafe pointer(frame.address, 4096)
    var index = first
    while index < 512 {
      // SAFETY: the index lies inside the frame; `Atomic<UInt64>` has the layout of `UInt64`.
      let entry = unsafe (start + index &* 8).assumingMemoryBound(to: Atomic<UInt64>.self)
        .pointee.load(ordering: .relaxed)
      if entry != word { return index }
      index &+= 1
    }
    return nil
  }

  /// Writes an 8-byte entry in one piece.
  public func setEntry(_ value: UInt64, at address: HostPhysical) {
    // SAFETY: `word` is in bounds.
    unsafe word(address).pointee.store(value, ordering: .releasing)
  }

  /// Writes an entry and returns the one it replaced.
  public func exchangeEntry(_ value: UInt64, at address: HostPhysical) -> UInt64 {
    // SAFETY: `word` is in bounds.
    unsafe word(address).pointee.exchange(value, ordering: .acquiringAndReleasing)
  }

  /// Writes `desired` if the entry still equals `expected`; the entry found, either way.
  public func compareExchangeEntry(
    expected: UInt64, desired: UInt64, at address: HostPhysical
  ) -> UInt64 {
    // SAFETY: `word` is in bounds.
    unsafe word(address).pointee.compareExchange(
      expected: expected, desired: desired, ordering: .acquiringAndReleasing
    ).original
  }

  /// Reads a 4-byte entry in one piece.
  public func entry32(at address: HostPhysical) -> UInt32 {
    // SAFETY: `halfWord` is in bounds.
    unsafe halfWord(address).pointee.load(ordering: .acquiring)
  }

  /// Writes a 4-byte entry in one piece.
  public func setEntry32(_ value: UInt32, at address: HostPhysical) {
    // SAFETY: `halfWord` is in bounds.
    unsafe halfWord(address).pointee.store(value, ordering: .releasing)
  }

  /// Writes `desired` if the 4-byte entry still equals `expected`; the entry found, either way.
  public func compareExchangeEntry32(
    expected: UInt32, desired: UInt32, at address: HostPhysical
  ) -> UInt32 {
    // SAFETY: `halfWord` is in bounds.
    unsafe halfWord(address).pointee.compareExchange(
      expected: expected, desired: desired, ordering: .acquiringAndReleasing
    ).original
  }

  // MARK: Bytes

  // A processor may be walking or marking the very bytes. Aligned words are therefore copied in one
  // piece each, in no order among them.

  private func byte(_ address: HostPhysical) -> UnsafeMutablePointer<Atomic<UInt8>> {
    // SAFETY: in bounds; `Atomic<UInt8>` has the layout of `UInt8`.
    unsafe pointer(address, 1).assumingMemoryBound(to: Atomic<UInt8>.self)
  }

  /// Copies bytes out of the arena.
  public func read(into bytes: inout MutableRawSpan, from address: HostPhysical) {
    let count = bytes.byteCount
    precondition(contains(address, count: UInt64(count)), "bytes are read inside the arena")
    var offset = 0
    while offset < count {
      let here = address + UInt64(offset)
      if here.raw & 7 == 0, count - offset >= 8 {
        // SAFETY: `word` is in bounds, and so is the span's part.
        let value = unsafe word(here).pointee.load(ordering: .relaxed)
        bytes.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
        offset += 8
      } else {
        // SAFETY: `byte` is in bounds, and so is the span's.
        let value = unsafe byte(here).pointee.load(ordering: .relaxed)
        bytes.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
        offset += 1
      }
    }
  }

  /// Copies bytes into the arena.
  public func write(_ bytes: RawSpan, to address: HostPhysical) {
    let count = bytes.byteCount
    precondition(contains(address, count: UInt64(count)), "bytes are written inside the arena")
    var offset = 0
    while offset < count {
      let here = address + UInt64(offset)
      if here.raw & 7 == 0, count - offset >= 8 {
        // SAFETY: `word` is in bounds, and so is the span's part.
        let value = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt64.self)
        unsafe word(here).pointee.store(value, ordering: .relaxed)
        offset += 8
      } else {
        // SAFETY: `byte` is in bounds, and so is the span's.
        let value = unsafe bytes.unsafeLoad(fromByteOffset: offset, as: UInt8.self)
        unsafe byte(here).pointee.store(value, ordering: .relaxed)
        offset += 1
      }
    }
  }

  /// Copies a whole frame that no processor reaches meanwhile.
  public func copyFrame(from source: HostFrame, to target: HostFrame) {
    let from = unsafe pointer(source.address, 4096)
    // SAFETY: both frames are in bounds; equal frames copy onto themselves.
    unsafe pointer(target.address, 4096).copyMemory(from: from, byteCount: 4096)
  }

  /// Fills a whole frame, which nobody else reaches, with one 8-byte word.
  public func fillFrame(_ frame: HostFrame, with word: UInt64) {
    let start = unsafe pointer(frame.address, 4096)
    for offset in stride(from: 0, to: 4096, by: 8) {
      // SAFETY: the offset lies inside the frame.
      unsafe start.storeBytes(of: word, toByteOffset: offset, as: UInt64.self)
    }
  }
}
