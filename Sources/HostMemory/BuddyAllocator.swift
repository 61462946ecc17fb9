public import PagingUnits

/// Hands out blocks of 1 to 262,144 host frames, naturally aligned, and merges them when they
/// come back.
///
/// The free lists run through the frame records, so that nothing is allocated. Frames above the
/// *frontier* were never part of a block: the arena is cut into blocks only as far as it is needed,
/// and a terabyte costs nothing at the start.
///
///     0        used and free blocks        frontier            never touched             end
///     ├──┬──┬────┬────────┬────────────────┤╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌┤
///
/// Invariant: a record's kind is not `.none` exactly for the first frame of a block. The same calls
/// in the same order always give the same frames. One thread at a time; `HostMemory` has the lock.
public struct BuddyAllocator: ~Copyable {
  /// The records that hold the lists.
  public let records: FrameRecords
  /// The number of frames free, the untouched ones included.
  public private(set) var freeCount: UInt64
  private var heads = InlineArray<19, UInt32>(repeating: 0)
  private var frontier: UInt64
  private let end: UInt64

  /// A block that was handed out.
  public struct Block: Hashable, Sendable {
    /// The first frame.
    public let frame: HostFrame
    /// Whether the bytes are known to be zero: no frame of it was ever handed out before.
    public let isZeroed: Bool
  }

  /// Hands out the frames of `frames`, none of which has a record yet.
  public init(records: FrameRecords, frames: Range<HostFrame>) {
    precondition(
      frames.upperBound.number <= records.frameCount, "every frame handed out has a record")
    self.records = records
    frontier = frames.lowerBound.number
    end = frames.upperBound.number
    freeCount = end - frontier
  }

  // MARK: Taking and giving back

  /// Takes a block of `order`; `nil` when no block that large is left.
  public mutating func allocate(_ order: FrameOrder, as kind: FrameKind) -> Block? {
    var found = order.exponent
    while true {
      while found <= 18, heads[Int(found)] == 0 { found += 1 }
      if found <= 18 { break }
      guard extendFrontier() else { return nil }
      found = order.exponent
    }
    let frame = HostFrame(UInt64(heads[Int(found)] - 1))
    return take(frame, from: frame, FrameOrder(Int(found)), order, kind)
  }

  /// Takes the first frame of the free block that lies lowest in a zone, so far as the arena was
  /// cut into blocks; `nil` when the zone is full.
  ///
  /// Walks the lists.
  public mutating func allocateFrame(in zone: FrameZone, as kind: FrameKind) -> Block? {
    while true {
      var best: (head: HostFrame, order: FrameOrder)?
      for exponent in 0...18 {
        let order = FrameOrder(exponent)
        var block = freeBlock(order, after: nil)
        while let head = block {
          if head < best?.head ?? HostFrame(zone.end) { best = (head, order) }
          block = freeBlock(order, after: head)
        }
      }
      if let best { return take(best.head, from: best.head, best.order, .page4K, kind) }
      guard frontier < zone.end, extendFrontier() else { return nil }
    }
  }

  /// Whether a block of `order` is left.
  public func canAllocate(_ order: FrameOrder) -> Bool {
    for exponent in Int(order.exponent)...18 where heads[exponent] != 0 { return true }
    let first = (frontier + order.frameCount - 1) & ~(order.frameCount - 1)
    return first + order.frameCount <= end
  }

  /// Takes the block of `order` that starts at `frame`, if all of it is free.
  public mutating func allocate(
    at frame: HostFrame, _ order: FrameOrder, as kind: FrameKind
  ) -> Block? {
    precondition(frame.number & (order.frameCount - 1) == 0, "a block is naturally aligned")
    guard frame.number <= end, order.frameCount <= end - frame.number else { return nil }
    while frontier < frame.number + order.frameCount { guard extendFrontier() else { return nil } }
    for exponent in Int(order.exponent)...18 {
      let head = HostFrame(frame.number & ~((1 &<< UInt64(exponent)) &- 1))
      if isFree(head, FrameOrder(exponent)) {
        return take(frame, from: head, FrameOrder(exponent), order, kind)
      }
    }
    return nil
  }

  /// Gives back the block that starts at `frame`; traps when none in use starts there.
  public mutating func free(_ frame: HostFrame) {
    let kind = records.kind(of: frame)
    precondition(kind != .none && kind != .free, "only a block in use is given back")
    var order = records.order(of: frame)
    freeCount += order.frameCount
    erase(frame)
    var head = frame
    while order < .page1G {
      let buddy = HostFrame(head.number ^ order.frameCount)
      guard buddy.number + order.frameCount <= end, isFree(buddy, order) else { break }
      unlink(buddy, order)
      erase(buddy)
      head = min(head, buddy)
      order = FrameOrder(Int(order.exponent) + 1)
    }
    push(head, order, flags: 0)
  }

  /// Cuts the block in use that starts at `frame` into blocks of `order`, each with its marks.
  public mutating func split(_ frame: HostFrame, into order: FrameOrder) {
    let whole = records.order(of: frame)
    let state = records.load(frame, 0)
    precondition(order < whole, "a block is cut into smaller ones")
    let piece = (state & ~(0x1F << 8)) | UInt32(order.exponent) << 8
    for offset in stride(from: 0, to: whole.frameCount, by: Int(order.frameCount)) {
      let part = frame + offset
      records.store(records.load(frame, 2), part, 2)
      records.store(0, part, 1)
      records.store(0, part, 3)
      records.store(piece, part, 0)
    }
  }

  /// The number of free blocks of `order`, the untouched frames not counted; walks the list.
  public func freeBlocks(_ order: FrameOrder) -> Int {
    var link = heads[Int(order.exponent)]
    var count = 0
    while link != 0 {
      count += 1
      link = records.load(HostFrame(UInt64(link - 1)), 1)
    }
    return count
  }

  // MARK: Inspection

  /// The frames that were never part of a block.
  public var untouchedFrames: Range<HostFrame> { HostFrame(frontier)..<HostFrame(end) }

  /// The free block of `order` behind `frame` on its list, or the first; `nil` at the end.
  public func freeBlock(_ order: FrameOrder, after frame: HostFrame?) -> HostFrame? {
    let link = frame.map { records.load($0, 1) } ?? heads[Int(order.exponent)]
    return link == 0 ? nil : HostFrame(UInt64(link - 1))
  }

  /// The free block before `frame` on its list, as its record says; `nil` for the first.
  public func freeBlock(before frame: HostFrame) -> HostFrame? {
    let link = records.load(frame, 2)
    return link == 0 ? nil : HostFrame(UInt64(link - 1))
  }

  // MARK: Lists

  private func isFree(_ frame: HostFrame, _ order: FrameOrder) -> Bool {
    let state = records.load(frame, 0)
    return state & 0xFFFF == FrameRecords.state(.free, order)
  }

  /// Cuts the next block, the largest that is aligned and fits; whether there was one.
  private mutating func extendFrontier() -> Bool {
    guard frontier < end else { return false }
    var exponent = min(18, frontier == 0 ? 18 : frontier.trailingZeroBitCount)
    while 1 &<< UInt64(exponent) > end - frontier { exponent -= 1 }
    push(HostFrame(frontier), FrameOrder(exponent), flags: FrameRecords.zeroed)
    frontier += 1 &<< UInt64(exponent)
    return true
  }

  /// Takes `frame` with `order` out of the free block at `head`, giving the rest back to the lists.
  private mutating func take(
    _ frame: HostFrame, from head: HostFrame, _ whole: FrameOrder, _ order: FrameOrder,
    _ kind: FrameKind
  ) -> Block {
    let flags = records.load(head, 0) & FrameRecords.zeroed
    unlink(head, whole)
    erase(head)
    var start = head
    var size = Int(whole.exponent)
    while size > Int(order.exponent) {
      size -= 1
      let half = start + (1 &<< UInt64(size))
      if frame < half {
        push(half, FrameOrder(size), flags: flags)
      } else {
        push(start, FrameOrder(size), flags: flags)
        start = half
      }
    }
    records.store(FrameRecords.state(kind, order), frame, 0)
    freeCount -= order.frameCount
    return Block(frame: frame, isZeroed: flags != 0)
  }

  private mutating func push(_ frame: HostFrame, _ order: FrameOrder, flags: UInt32) {
    let next = heads[Int(order.exponent)]
    let link = UInt32(truncatingIfNeeded: frame.number) + 1
    if next != 0 { records.store(link, HostFrame(UInt64(next - 1)), 2) }
    records.store(next, frame, 1)
    records.store(0, frame, 2)
    records.store(FrameRecords.state(.free, order, flags: flags), frame, 0)
    heads[Int(order.exponent)] = link
  }

  private mutating func unlink(_ frame: HostFrame, _ order: FrameOrder) {
    let next = records.load(frame, 1)
    let previous = records.load(frame, 2)
    if next != 0 { records.store(previous, HostFrame(UInt64(next - 1)), 2) }
    if previous != 0 {
      records.store(next, HostFrame(UInt64(previous - 1)), 1)
    } else {
      heads[Int(order.exponent)] = next
    }
  }

  private func erase(_ frame: HostFrame) {
    for index in 0..<4 { records.store(0, frame, index) }
  }
}
