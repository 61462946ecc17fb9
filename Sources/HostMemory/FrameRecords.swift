public import PagingUnits
import Synchronization

/// One 16-byte record for each host frame: what it is used for and what is known about it.
///
/// The records lie over a zeroed buffer that somebody else owns and that costs memory only where it
/// is touched, like the frames themselves. A block of frames is described by the record of its
/// first frame (its *head*), so that a 1 GiB page costs one record (KVM's host: `struct page`,
/// folios).
///
///     word 0   kind 0…7, order 8…12, flags 16…          word 2   host mappings | previous free
///     word 1   owner of a table | next free block       word 3   table set aside under a huge page
///
/// This is a small value that every room copies. Every word is read and written atomically; which
/// lock guards a meaning is said at each function.
@safe public struct FrameRecords: @unchecked Sendable {
  // SAFETY: whoever makes the records keeps their bytes for as long as any copy of it lives.
  private let words: UnsafeMutableRawPointer
  /// The number of frames described.
  public let frameCount: UInt64

  /// The number of bytes that the records of `frameCount` frames take, whole 4 KiB frames.
  public static func byteCount(forFrames frameCount: UInt64) -> UInt64 {
    (frameCount * 16 + 0xFFF) & ~0xFFF
  }

  /// Records for `frameCount` frames over zeroed, 16-byte aligned bytes that outlive every copy.
  ///
  /// Traps for more than 2^32 - 2 frames (16 TiB), whose numbers would not fit a link.
  @unsafe public init(base: UnsafeMutableRawPointer, frameCount: UInt64) {
    precondition(UInt(bitPattern: base) & 15 == 0, "frame records are 16-byte aligned")
    precondition(frameCount < UInt64(UInt32.max), "a host has fewer than 2^32 - 1 frames")
    unsafe words = base
    self.frameCount = frameCount
  }

  private func word(_ frame: HostFrame, _ index: Int) -> UnsafeMutablePointer<Atomic<UInt32>> {
    precondition(frame.number < frameCount, "a host frame lies inside the arena")
    let offset = Int(truncatingIfNeeded: frame.number) &* 16 &+ index &* 4
    // SAFETY: the frame was checked; `Atomic<UInt32>` has the layout of `UInt32`.
    return unsafe (words + offset).assumingMemoryBound(to: Atomic<UInt32>.self)
  }

  func load(_ frame: HostFrame, _ index: Int) -> UInt32 {
    // SAFETY: `word` is in bounds.
    unsafe word(frame, index).pointee.load(ordering: .acquiring)
  }

  func store(_ value: UInt32, _ frame: HostFrame, _ index: Int) {
    // SAFETY: `word` is in bounds.
    unsafe word(frame, index).pointee.store(value, ordering: .releasing)
  }

  private func set(_ bits: UInt32, in frame: HostFrame) {
    // SAFETY: `word` is in bounds.
    _ = unsafe word(frame, 0).pointee.bitwiseOr(bits, ordering: .acquiringAndReleasing)
  }

  private func clear(_ bits: UInt32, in frame: HostFrame) -> UInt32 {
    // SAFETY: `word` is in bounds.
    unsafe word(frame, 0).pointee.bitwiseAnd(~bits, ordering: .acquiringAndReleasing).oldValue
  }

  // MARK: The head's state

  static let accessed: UInt32 = 1 << 16
  static let dirty: UInt32 = 1 << 17
  static let zeroed: UInt32 = 1 << 18
  static let decrypted: UInt32 = 1 << 19

  static func state(_ kind: FrameKind, _ order: FrameOrder, flags: UInt32 = 0) -> UInt32 {
    UInt32(kind.rawValue) | UInt32(order.exponent) << 8 | flags
  }

  /// What the block is used for that starts at `frame`; `.none` when none starts there.
  public func kind(of frame: HostFrame) -> FrameKind {
    guard let kind = FrameKind(rawValue: UInt8(truncatingIfNeeded: load(frame, 0))) else {
      preconditionFailure("a frame record holds a kind that exists")
    }
    return kind
  }

  /// The size of the block that starts at `frame`.
  public func order(of frame: HostFrame) -> FrameOrder {
    FrameOrder(Int((load(frame, 0) &>> 8) & 0x1F))
  }

  /// The first frame of the block that holds `frame`, used or free; `nil` when the frame was never
  /// part of one (not yet touched, or outside the arena).
  public func head(of frame: HostFrame) -> HostFrame? {
    guard frame.number < frameCount else { return nil }
    for exponent in 0...18 {
      let head = HostFrame(frame.number & ~((1 &<< UInt64(exponent)) &- 1))
      let state = load(head, 0)
      if state & 0xFF != 0 {
        return (state &>> 8) & 0x1F >= UInt32(exponent) ? head : nil
      }
    }
    return nil
  }

  // MARK: The page's marks

  /// Marks the page that holds `frame` as changed since it was read (KVM: `kvm_set_pfn_dirty`).
  ///
  /// Any thread, no lock; a frame without a record, of a device outside memory, is passed over.
  public func markDirty(_ frame: HostFrame) {
    mark(frame, Self.dirty)
  }

  /// Marks the page that holds `frame` as recently used (KVM: `kvm_set_pfn_accessed`).
  ///
  /// Any thread, no lock; a frame without a record, of a device outside memory, is passed over.
  public func markAccessed(_ frame: HostFrame) {
    mark(frame, Self.accessed)
  }

  private func mark(_ frame: HostFrame, _ bit: UInt32) {
    guard let head = head(of: frame) else { return }
    precondition(kind(of: head) != .free, "a page loses its mappings before it is free")
    set(bit, in: head)
  }

  /// Whether the page that holds `frame` is marked changed.
  public func isDirty(_ frame: HostFrame) -> Bool {
    guard let head = head(of: frame) else { return false }
    return load(head, 0) & Self.dirty != 0
  }

  /// Whether the page that holds `frame` is marked recently used.
  public func isAccessed(_ frame: HostFrame) -> Bool {
    guard let head = head(of: frame) else { return false }
    return load(head, 0) & Self.accessed != 0
  }

  /// Forgets that the page was used; whether it was.
  public func clearAccessed(_ frame: HostFrame) -> Bool {
    guard let head = head(of: frame) else { return false }
    return clear(Self.accessed, in: head) & Self.accessed != 0
  }

  // MARK: Tables

  /// Who owns the table in `frame` (KVM: `page->private`); meaningful for `.table` frames only.
  ///
  /// Any thread, no lock: the answer is as fresh as the caller's right to look at the table.
  public func owner(of frame: HostFrame) -> UInt32 { load(frame, 1) }

  /// Says who owns the table in `frame`; whoever allocated the table calls it.
  public func setOwner(_ owner: UInt32, of frame: HostFrame) {
    precondition(kind(of: frame) == .table, "only a table's frame has an owner")
    store(owner, frame, 1)
  }

  /// Whether a table was taken out of encryption; any thread, no lock.
  public func isDecrypted(_ frame: HostFrame) -> Bool { load(frame, 0) & Self.decrypted != 0 }

  /// Marks a table as taken out of encryption; `false` when it is already.
  func setDecrypted(_ frame: HostFrame) -> Bool {
    // SAFETY: `word` is in bounds.
    unsafe word(frame, 0).pointee.bitwiseOr(Self.decrypted, ordering: .acquiringAndReleasing)
      .oldValue & Self.decrypted == 0
  }

  /// Marks a table as encrypted; `false` when it is already.
  func clearDecrypted(_ frame: HostFrame) -> Bool {
    clear(Self.decrypted, in: frame) & Self.decrypted != 0
  }

  // MARK: Mappings

  /// How many entries of the host process map the page that starts at `frame`.
  public func mappings(of frame: HostFrame) -> UInt32 { load(frame, 2) }
}
