import HostMemory
public import MachineEvents
public import PagingUnits
import Synchronization

/// The rows of all shadow pages of a machine, their look-up by frame and role, and their lives.
///
///     free ──stock──▶ cached ──enlist──▶ live ──retire──▶ retired ──reclaim──▶ free
///
/// Rows are named by number and never move. A small lock guards the lists. Each field of a row is
/// read and written in one piece; what it means is guarded by whoever holds the row: a cache, the
/// MMU lock, or nobody but the reclaimer.
@safe public struct ShadowPageArena: ~Copyable, @unchecked Sendable {
  private static let bucketCount = 4096
  /// How many rows there can be.
  public let capacity: Int
  private let rows: UnsafeMutablePointer<ShadowPageRow>
  private let buckets: UnsafeMutablePointer<ShadowPageID>
  private let shared: UnsafeMutablePointer<Shared>
  let lock: YieldingLock

  /// What the lock guards.
  private struct Shared {
    var firstFree = ShadowPageID.none
    var rowsMade = 0
    var firstActive = ShadowPageID.none
    var lastActive = ShadowPageID.none
    var activeCount = 0
    var firstRetired = ShadowPageID.none
    var tableCount = 0
  }

  /// An arena of at most `capacity` tables, 1…2^24 - 1, without any yet.
  public init(capacity: Int, interleaver: Interleaver) {
    precondition(1..<(1 << 24) ~= capacity, "an arena holds 1 to 2^24 - 1 tables")
    self.capacity = capacity
    lock = YieldingLock(interleaver: interleaver, changes: .quiet)
    // Row 0 names no table. Untouched rows cost address space only.
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe rows = .allocate(capacity: capacity + 1)
    unsafe buckets = .allocate(capacity: Self.bucketCount)
    // SAFETY: both allocations are exactly this large.
    unsafe buckets.initialize(repeating: .none, count: Self.bucketCount)
    unsafe shared = .allocate(capacity: 1)
    unsafe shared.initialize(to: Shared())
  }

  deinit {
    unsafe rows.deallocate()
    unsafe buckets.deallocate()
    unsafe shared.deallocate()
  }

  private func pointer(_ id: ShadowPageID) -> UnsafeMutablePointer<ShadowPageRow> {
    precondition(id != .none && Int(id.number) <= capacity, "a shadow page has a row")
    // SAFETY: the number was checked, and only rows that were made have names.
    return unsafe rows + Int(id.number)
  }

  /// A row, to be looked at while the arena lives.
  public subscript(id: ShadowPageID) -> ShadowPage {
    // SAFETY: `pointer` is in bounds, and a row that has a name is initialized.
    unsafe ShadowPage(row: UnsafePointer(pointer(id)))
  }

  // MARK: A row's fields

  /// Says what a stocked table is.
  func describe(
    _ id: ShadowPageID, _ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8
  ) {
    let row = self[id]
    row.guestFrame = frame
    row.role = role
    row.generation = generation
  }

  /// Says which entry points to a table.
  public func setParentEntry(_ address: HostPhysical, of id: ShadowPageID) {
    self[id].parentEntry = address
  }

  /// Counts more users of a root.
  public func addRootReferences(_ count: UInt32, to id: ShadowPageID) {
    // SAFETY: `pointer` is in bounds and the row is initialized.
    unsafe pointer(id).pointee.rootReferences.add(count, ordering: .relaxed)
  }

  /// Counts one user of a root less; how many are left.
  public func dropRootReference(of id: ShadowPageID) -> UInt32 {
    // SAFETY: `pointer` is in bounds and the row is initialized.
    let references = unsafe pointer(id).pointee.rootReferences
      .wrappingSubtract(1, ordering: .relaxed)
    precondition(references.oldValue > 0, "a root is given back once")
    return references.newValue
  }

  /// Makes a root invalid: nobody finds it any more, and it waits to be emptied.
  ///
  /// The bit is state: the root leaves its bucket's order, not its bucket, which goes by frame.
  public func invalidateRoot(_ id: ShadowPageID) {
    let row = self[id]
    var role = row.role
    role.isInvalid = true
    row.role = role
    row.isScheduledToZap = true
  }

  /// Makes a table of shadow paging invalid, which was emptied already.
  public func invalidateTable(_ id: ShadowPageID) {
    let row = self[id]
    var role = row.role
    role.isInvalid = true
    row.role = role
  }

  /// An invalidated root has been emptied.
  public func finishZap(of id: ShadowPageID) {
    self[id].isScheduledToZap = false
  }

  /// How many tables exist: stocked, live and retired.
  public var tableCount: Int {
    // SAFETY: one allocated element, read under its lock.
    lock.withLock { unsafe shared.pointee.tableCount }
  }

  /// How many live tables are listed.
  public var activeCount: Int {
    // SAFETY: one allocated element, read under its lock.
    lock.withLock { unsafe shared.pointee.activeCount }
  }

  // MARK: Stock

  /// Makes a table: a row and an empty frame; `nil` when there is no row or no frame left in the
  /// zone.
  func stock(
    from host: borrowing HostMemory, in zone: FrameZone = .anywhere
  ) -> ShadowPageID? {
    lock.lock()
    defer { lock.unlock() }
    // SAFETY: one allocated element, guarded by the lock.
    unsafe precondition(shared.pointee.rowsMade <= capacity, "rows are made once")
    let id: ShadowPageID
    if unsafe shared.pointee.firstFree != .none {
      id = unsafe shared.pointee.firstFree
      unsafe shared.pointee.firstFree = self[id].next
    } else {
      guard unsafe shared.pointee.rowsMade < capacity else { return nil }
      unsafe shared.pointee.rowsMade += 1
      id = ShadowPageID(number: UInt32(unsafe shared.pointee.rowsMade))
      // SAFETY: a row of the allocation that nobody has used yet.
      unsafe pointer(id).initialize(to: ShadowPageRow())
    }
    guard let frame = host.allocateTable(owner: id.number, in: zone) else {
      self[id].next = unsafe shared.pointee.firstFree
      unsafe shared.pointee.firstFree = id
      return nil
    }
    host.memory.fillFrame(frame, with: SPTE.nonpresent.raw)
    self[id].stock(frame)
    unsafe shared.pointee.tableCount += 1
    return id
  }

  /// Gives a table's row and frame back.
  func free(_ id: ShadowPageID, to host: borrowing HostMemory) {
    lock.lock()
    defer { lock.unlock() }
    precondition(self[id].state != .live && self[id].state != .free, "a live table is retired")
    host.freeTable(self[id].frame)
    self[id].state = .free
    // SAFETY: one allocated element, guarded by the lock.
    self[id].next = unsafe shared.pointee.firstFree
    unsafe shared.pointee.firstFree = id
    unsafe shared.pointee.tableCount -= 1
  }

  /// A stocked table goes live without being listed: it is found through its parent only.
  public func goLive(_ id: ShadowPageID) {
    precondition(self[id].state == .cached, "only a stocked table goes live")
    self[id].state = .live
  }

  /// A live table that nobody could find yet goes back to being stock.
  public func goBack(_ id: ShadowPageID) {
    precondition(self[id].state == .live, "only a live table goes back")
    self[id].state = .cached
  }

  // MARK: Identity

  private func bucket(_ frame: GuestFrame) -> Int {
    Int(truncatingIfNeeded: (frame.number &* 0x9E37_79B9_7F4A_7C15) >> 52)
  }

  /// The live table of exactly this frame and role, and how many strangers its bucket holds.
  ///
  /// Invalid tables and those of another generation are not found (KVM:
  /// `kvm_mmu_find_shadow_page`). The caller holds the MMU lock.
  public func find(
    _ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8
  ) -> (page: ShadowPageID?, collisions: Int) {
    lock.lock()
    defer { lock.unlock() }
    var collisions = 0
    // SAFETY: a bucket number is below the number of buckets.
    var id = unsafe buckets[bucket(frame)]
    while id != .none {
      let row = self[id]
      if row.guestFrame != frame {
        collisions += 1
      } else if row.role == role && row.generation == generation {
        return (id, collisions)
      }
      id = row.hashNext
    }
    return (nil, collisions)
  }

  /// A stocked table goes live and can be found; its row already says what it is.
  public func enlist(_ id: ShadowPageID) {
    lock.lock()
    defer { lock.unlock() }
    precondition(self[id].state == .cached, "only a stocked table goes live")
    let index = bucket(self[id].guestFrame)
    self[id].state = .live
    // SAFETY: a bucket number is below the number of buckets; the list ends are lock-guarded.
    self[id].hashNext = unsafe buckets[index]
    unsafe buckets[index] = id
    self[id].next = unsafe shared.pointee.firstActive
    self[id].previous = .none
    let first = unsafe shared.pointee.firstActive
    if first != .none { self[first].previous = id } else { unsafe shared.pointee.lastActive = id }
    unsafe shared.pointee.firstActive = id
    unsafe shared.pointee.activeCount += 1
  }

  /// A live table can no longer be found.
  public func delist(_ id: ShadowPageID) {
    lock.lock()
    defer { lock.unlock() }
    precondition(self[id].state == .live, "only a live table is listed")
    let index = bucket(self[id].guestFrame)
    // SAFETY: a bucket number is below the number of buckets; the list ends are lock-guarded.
    if unsafe buckets[index] == id {
      unsafe buckets[index] = self[id].hashNext
    } else {
      var before = unsafe buckets[index]
      while before != .none && self[before].hashNext != id { before = self[before].hashNext }
      precondition(before != .none, "a listed table is in its bucket")
      self[before].hashNext = self[id].hashNext
    }
    let (next, previous) = (self[id].next, self[id].previous)
    if previous != .none {
      self[previous].next = next
    } else {
      unsafe shared.pointee.firstActive = next
    }
    if next != .none {
      self[next].previous = previous
    } else {
      unsafe shared.pointee.lastActive = previous
    }
    self[id].next = .none
    self[id].previous = .none
    self[id].hashNext = .none
    unsafe shared.pointee.activeCount -= 1
  }

  /// The listed table behind `id`, newest first; with `.none`, the first; `.none` at the end.
  ///
  /// The caller holds the MMU lock, so that the list keeps its order between calls.
  public func nextActive(after id: ShadowPageID) -> ShadowPageID {
    lock.lock()
    defer { lock.unlock() }
    // SAFETY: one allocated element, guarded by the lock.
    return id == .none ? unsafe shared.pointee.firstActive : self[id].next
  }

  /// The listed table before `id`, which is the next younger one; with `.none`, the oldest; `.none`
  /// at the end.
  ///
  /// The caller holds the MMU lock.
  public func nextOldest(after id: ShadowPageID) -> ShadowPageID {
    lock.lock()
    defer { lock.unlock() }
    // SAFETY: one allocated element, guarded by the lock.
    return id == .none ? unsafe shared.pointee.lastActive : self[id].previous
  }

  /// The listed table of this frame behind `id`, whatever its role; with `.none`, the first;
  /// `.none` at the end.
  ///
  /// The caller holds the MMU lock.
  public func nextTable(of frame: GuestFrame, after id: ShadowPageID) -> ShadowPageID {
    lock.lock()
    defer { lock.unlock() }
    // SAFETY: a bucket number is below the number of buckets.
    var next = id == .none ? unsafe buckets[bucket(frame)] : self[id].hashNext
    while next != .none && self[next].guestFrame != frame { next = self[next].hashNext }
    return next
  }

  // MARK: Inspection

  /// How many tables are live, listed or not; for reports, while nobody makes or frees any.
  public var liveCount: Int {
    var count = 0
    for number in 0..<rowCount
    where self[ShadowPageID(number: UInt32(number + 1))].state == .live {
      count += 1
    }
    return count
  }

  /// How many rows were ever made; they are numbered from 1.
  public var rowCount: Int {
    // SAFETY: one allocated element, read under its lock.
    lock.withLock { unsafe shared.pointee.rowsMade }
  }

  /// The row with a number, if it was ever made.
  public func row(_ number: UInt32) -> ShadowPageID? {
    1..<UInt32(rowCount) + 1 ~= number ? ShadowPageID(number: number) : nil
  }

  /// One of the arena's lists.
  public enum List: Hashable, Sendable { case free, active, retired }

  /// How many rows a list holds, found by walking it; `nil` when it has no end or, for the active
  /// one, when a row does not point back to the one before it.
  public func length(of list: List) -> Int? {
    lock.lock()
    defer { lock.unlock() }
    // SAFETY: one allocated element, guarded by the lock.
    let ends = unsafe shared.pointee
    var id =
      switch list {
      case .free: ends.firstFree
      case .active: ends.firstActive
      case .retired: ends.firstRetired
      }
    var before = ShadowPageID.none
    var length = 0
    while id != .none {
      guard length < ends.rowsMade, Int(id.number) <= ends.rowsMade else { return nil }
      if list == .active && self[id].previous != before { return nil }
      before = id
      id = self[id].next
      length += 1
    }
    return list == .active && before != ends.lastActive ? nil : length
  }

  // MARK: Retirement

  /// An unlinked table waits until nobody can be looking at it.
  func retire(_ id: ShadowPageID, at stamp: UInt64) {
    lock.lock()
    defer { lock.unlock() }
    precondition(self[id].state == .live, "a table is retired once")
    self[id].state = .retired
    self[id].retiredAt = stamp
    // SAFETY: one allocated element, guarded by the lock.
    self[id].next = unsafe shared.pointee.firstRetired
    unsafe shared.pointee.firstRetired = id
  }

  /// Takes one retired table that nobody can see any more.
  func takeReclaimable(_ quiet: borrowing QuietPoints) -> ShadowPageID? {
    lock.lock()
    defer { lock.unlock() }
    var before = ShadowPageID.none
    // SAFETY: one allocated element, guarded by the lock.
    var id = unsafe shared.pointee.firstRetired
    while id != .none {
      let next = self[id].next
      if quiet.hasPassed(self[id].retiredAt) {
        if before == .none {
          unsafe shared.pointee.firstRetired = next
        } else {
          self[before].next = next
        }
        return id
      }
      before = id
      id = next
    }
    return nil
  }
}
