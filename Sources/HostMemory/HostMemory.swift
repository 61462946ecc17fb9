public import PagingUnits
import Synchronization

/// The host: its frames, who uses each of them, and who may have another.
///
/// A value is one owner's share of the host; `share()` makes another for a room that needs frames
/// of its own, and the host's bookkeeping goes when the last share goes. Nothing is counted on a
/// path that is taken often. Every function may be called by several threads: allocations are
/// serialised by a spin lock of the host's own, held for some dozens of instructions and never
/// together with another lock of the host.
@safe public struct HostMemory: ~Copyable, @unchecked Sendable {
  /// The bytes.
  public let memory: PhysicalMemory
  /// One record a frame.
  public let records: FrameRecords
  private let state: UnsafeMutablePointer<HostFrameState>
  private let shares: UnsafeMutablePointer<HostShares>

  /// The limits and habits of a host.
  public struct Options: Hashable, Sendable {
    /// The most frames that tables of the MMU may occupy.
    public var tableLimit: UInt64 = .max
    /// Where the process's pages come to lie.
    public var scatter: FrameScatter = .packed
    /// The number of frames at the end of memory that belong to devices and are never handed out.
    public var deviceFrames: UInt64 = 0
    /// No limit, packed pages, no devices.
    public init() {}
  }

  /// A host over `memory`, with one record for each frame of it, none in use.
  ///
  /// Frame 0 holds the page of zeros that untouched memory shares. Traps when the records describe
  /// fewer frames than the memory has, or when no frame is left beside the devices.
  public init(memory: PhysicalMemory, records: FrameRecords, options: Options = Options()) {
    precondition(memory.frameCount <= records.frameCount, "each host frame has a record")
    precondition(
      options.deviceFrames < memory.frameCount && memory.frameCount >= 2,
      "a host has frames beside the devices' and the page of zeros")
    self.memory = memory
    self.records = records
    // SAFETY: freshly allocated for one state, and freed with the last share.
    unsafe state = .allocate(capacity: 1)
    unsafe shares = .allocate(capacity: 1)
    unsafe shares.initialize(to: HostShares(options: options))
    unsafe state.initialize(to: HostFrameState(memory: memory, records: records, options: options))
  }

  private init(sharing host: borrowing HostMemory) {
    memory = host.memory
    records = host.records
    unsafe state = unsafe host.state
    unsafe shares = unsafe host.shares
  }

  deinit {
    // SAFETY: the last share to go takes the state with it; nobody else can reach it any more.
    if unsafe shares.pointee.count.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 {
      unsafe state.deinitialize(count: 1)
      unsafe state.deallocate()
      unsafe shares.deinitialize(count: 1)
      unsafe shares.deallocate()
    }
  }

  /// Another share of the same host, for a room that outlives this one or goes before it.
  public func share() -> HostMemory {
    // SAFETY: this share keeps the state alive.
    _ = unsafe shares.pointee.count.add(1, ordering: .relaxed)
    return HostMemory(sharing: self)
  }

  /// The page of zeros that untouched memory shares; it is never written.
  public var zeroFrame: HostFrame { HostFrame(0) }

  /// The frames at the end of memory that belong to devices.
  public var deviceFrames: Range<HostFrame> {
    // SAFETY: this share keeps the state alive; the options never change.
    let count = unsafe shares.pointee.options.deviceFrames
    return HostFrame(memory.frameCount - count)..<HostFrame(memory.frameCount)
  }

  /// How many tables were taken out of encryption (`decrypt`) and not put back, given back since or
  /// not.
  public var clearFrames: Int {
    // SAFETY: this share keeps the state alive.
    unsafe shares.pointee.clearCount.load(ordering: .acquiring)
  }

  func countClear(_ change: Int) {
    // SAFETY: this share keeps the state alive.
    _ = unsafe shares.pointee.clearCount.add(change, ordering: .acquiringAndReleasing)
  }

  // MARK: Tables

  /// A frame for a table of the MMU, its bytes unspecified; `nil` at the limit, when refused, or
  /// when none is left.
  ///
  /// * `owner`: what `owner(of:)` answers (KVM: `page->private`).
  /// * `zone`: where in memory it has to lie.
  public func allocateTable(owner: UInt32, in zone: FrameZone = .anywhere) -> HostFrame? {
    guard let block = allocateFrame(in: zone, as: .table) else { return nil }
    records.store(owner, block.frame, 1)
    return block.frame
  }

  /// Gives a table's frame back; traps when the frame is no table.
  public func freeTable(_ frame: HostFrame) {
    precondition(records.kind(of: frame) == .table, "only a table's frame is given back as one")
    free(frame)
  }

  /// Who owns the table in `frame`.
  public func owner(of frame: HostFrame) -> UInt32 { records.owner(of: frame) }

  /// Says who owns the table in `frame`.
  public func setOwner(_ owner: UInt32, of frame: HostFrame) {
    records.setOwner(owner, of: frame)
  }

  // MARK: Blocks

  /// Takes a block of `order`; pages of the process are scattered as the options say.
  func allocate(_ order: FrameOrder, as kind: FrameKind) -> BuddyAllocator.Block? {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    return unsafe state.pointee.allocate(order, as: kind)
  }

  /// Takes one frame of a zone.
  private func allocateFrame(in zone: FrameZone, as kind: FrameKind) -> BuddyAllocator.Block? {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    return unsafe state.pointee.allocateFrame(in: zone, as: kind)
  }

  /// Gives a block back.
  func free(_ frame: HostFrame) {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    unsafe state.pointee.free(frame)
  }

  /// Cuts a block in use into blocks of `order`.
  func split(_ frame: HostFrame, into order: FrameOrder) {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    unsafe state.pointee.buddy.split(frame, into: order)
  }

  /// Takes a block in use out of use for ever.
  func retire(_ frame: HostFrame, as kind: FrameKind) {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    unsafe state.pointee.change(frame, to: kind)
  }

  // MARK: Accounts

  /// How many frames are used for `kind`; for `.free`, how many are left.
  public func frames(_ kind: FrameKind) -> UInt64 {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    return unsafe state.pointee.frames(kind)
  }

  /// What `look` finds in the lists of free blocks, with nobody else allocating meanwhile.
  public func withFreeBlocks<Result>(_ look: (borrowing BuddyAllocator) -> Result) -> Result {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    return unsafe look(state.pointee.buddy)
  }

  /// How many allocations were asked for since the refusal policy was set.
  public var allocationCount: UInt64 {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    return unsafe state.pointee.attempts
  }

  /// Refuses allocations by `policy` from now on, counting from 1.
  public func refuse(_ policy: RefusalPolicy) {
    // SAFETY: this share keeps the state alive; its lock is held while its fields are used.
    unsafe shares.pointee.lock.lock()
    defer { unsafe shares.pointee.lock.unlock() }
    unsafe state.pointee.refusals = policy
    unsafe state.pointee.attempts = 0
  }
}
