import PagingUnits
import Synchronization

/// What the shares of a host reach without its lock: the lock itself, how many shares there are,
/// and what never changes.
///
/// It lies apart from what the lock guards, so that waiting for the lock touches nothing else.
struct HostShares: ~Copyable {
  let lock = SpinLock()
  let count = Atomic<Int>(1)
  /// How many tables were taken out of encryption and not put back.
  let clearCount = Atomic<Int>(0)
  let options: HostMemory.Options

  init(options: HostMemory.Options) { self.options = options }
}

/// The bookkeeping that the shares of a host have in common; all of it is used with the lock held.
struct HostFrameState: ~Copyable {
  let options: HostMemory.Options
  var buddy: BuddyAllocator
  var refusals = RefusalPolicy.never
  var attempts: UInt64 = 0
  private var counts = InlineArray<10, UInt64>(repeating: 0)
  private var scatter: ScatterSequence?

  init(memory: PhysicalMemory, records: FrameRecords, options: HostMemory.Options) {
    self.options = options
    let end = memory.frameCount - options.deviceFrames
    buddy = BuddyAllocator(records: records, frames: HostFrame(1)..<HostFrame(end))
    records.store(FrameRecords.state(.zero, .page4K), HostFrame(0), 0)
    counts[Int(FrameKind.zero.rawValue)] = 1
    counts[Int(FrameKind.device.rawValue)] = options.deviceFrames
    if case .scattered(let frames, let seed) = options.scatter {
      scatter = ScatterSequence(frames: min(frames, end), seed: seed)
    }
  }

  mutating func allocate(_ order: FrameOrder, as kind: FrameKind) -> BuddyAllocator.Block? {
    guard mayTry(kind), let block = place(order, as: kind) else { return nil }
    counts[Int(kind.rawValue)] += order.frameCount
    return block
  }

  /// Takes one frame of a zone.
  mutating func allocateFrame(in zone: FrameZone, as kind: FrameKind) -> BuddyAllocator.Block? {
    if zone == .anywhere { return allocate(.page4K, as: kind) }
    guard mayTry(kind), let block = buddy.allocateFrame(in: zone, as: kind) else { return nil }
    counts[Int(kind.rawValue)] += 1
    return block
  }

  /// Counts an attempt; whether policy and limit let it be made.
  private mutating func mayTry(_ kind: FrameKind) -> Bool {
    attempts += 1
    if refusals.refuses(attempts) { return false }
    return kind != .table || counts[Int(kind.rawValue)] < options.tableLimit
  }

  private mutating func place(_ order: FrameOrder, as kind: FrameKind) -> BuddyAllocator.Block? {
    let isPage = kind == .anonymous || kind == .file
    if isPage, scatter != nil {
      // A few places are tried; in a crowded span the ordinary lists decide.
      for _ in 0..<8 {
        guard let frame = scatter?.next(order) else { break }
        if let block = buddy.allocate(at: frame, order, as: kind) { return block }
      }
    }
    return buddy.allocate(order, as: kind)
  }

  mutating func free(_ frame: HostFrame) {
    let kind = buddy.records.kind(of: frame)
    counts[Int(kind.rawValue)] -= buddy.records.order(of: frame).frameCount
    buddy.free(frame)
  }

  mutating func change(_ frame: HostFrame, to kind: FrameKind) {
    let records = buddy.records
    let order = records.order(of: frame)
    counts[Int(records.kind(of: frame).rawValue)] -= order.frameCount
    counts[Int(kind.rawValue)] += order.frameCount
    records.store(FrameRecords.state(kind, order), frame, 0)
  }

  func frames(_ kind: FrameKind) -> UInt64 {
    kind == .free ? buddy.freeCount : counts[Int(kind.rawValue)]
  }
}
