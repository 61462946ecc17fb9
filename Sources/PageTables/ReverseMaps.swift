public import PagingUnits
import Synchronization

/// Names what the tables keep for a memslot: the row of its metadata and its first frame.
public struct MapRow: Hashable, Sendable {
  /// The number of the metadata's row.
  public let number: UInt32
  /// The slot's first frame.
  public let base: GuestFrame

  /// Names the row of a slot.
  public init(number: UInt32, base: GuestFrame) {
    self.number = number
    self.base = base
  }
}

/// For each frame of each memslot: which leaves map it, and how many shadowed tables of upper
/// levels lie in it (KVM: `rmap` and `gfn_write_track` of `kvm_arch_memory_slot`).
///
/// There is one list for each frame and size of page. Rows are made under the memslot lock before
/// anybody can name them, and change and go under the writer side of the MMU lock.
@safe public struct ReverseMaps: ~Copyable, @unchecked Sendable {
  private static let capacity = 1 << 16
  private let rows: UnsafeMutablePointer<Row>?
  /// How many rows were made ever; those from there on are not initialised.
  ///
  /// Others look at their own rows while one more is made. Who names a row has it from the
  /// memslots, which were published after the row was made.
  private let rowCount = Atomic(0)
  /// The descriptors of the lists.
  public let lists: EntryLists

  @safe private struct Row {
    var lists: UnsafeMutablePointer<EntryList>?
    var tracks: UnsafeMutablePointer<UInt16>?
    var base: UInt64 = 0
    var count: UInt64 = 0
    /// Where the lists of 2 MiB and of 1 GiB pages start.
    var start2M = 0
    var start1G = 0
    var total = 0
  }

  /// Whether there is shadow paging at all.
  public enum Use: Hashable, Sendable {
    /// Tables shadow the guest's.
    case shadowed
    /// No table does, and nothing is kept.
    case unused
  }

  /// No slot yet, for the entries of at most `tables` tables.
  public init(_ use: Use, tables: Int) {
    lists = EntryLists(tables: use == .shadowed ? tables : 1)
    // SAFETY: freed in `deinit`; untouched rows cost address space only.
    unsafe rows = use == .shadowed ? .allocate(capacity: Self.capacity) : nil
  }

  deinit {
    guard let rows = unsafe rows else { return }
    for index in 0..<rowCount.load(ordering: .relaxed) {
      // SAFETY: the row is initialised; what it points to was allocated in `make`.
      unsafe rows[index].lists?.deallocate()
      unsafe rows[index].tracks?.deallocate()
    }
    unsafe rows.deallocate()
  }

  /// Whether there is shadow paging.
  public var use: Use {
    // SAFETY: the pointer is only looked at.
    unsafe rows == nil ? .unused : .shadowed
  }

  private func row(_ row: MapRow) -> UnsafeMutablePointer<Row> {
    guard let rows = unsafe rows, Int(row.number) < rowCount.load(ordering: .relaxed) else {
      preconditionFailure("a slot's reverse map was made")
    }
    // SAFETY: the number was checked.
    return unsafe rows + Int(row.number)
  }

  /// Makes the lists of a slot of `count` frames; a row holds one slot at a time.
  public func make(_ name: MapRow, frames count: UInt64) {
    precondition(Int(name.number) < Self.capacity, "there are 65,536 rows")
    var next = rowCount.load(ordering: .relaxed)
    while let rows = unsafe rows, next <= Int(name.number) {
      // SAFETY: the rows up to this one lie inside the allocation, and are not initialised yet.
      unsafe (rows + next).initialize(to: Row())
      next += 1
      rowCount.store(next, ordering: .releasing)
    }
    let row = unsafe row(name)
    // SAFETY: `row` is in bounds.
    unsafe precondition(row.pointee.lists == nil, "a slot's reverse map is made once")
    var made = Row()
    made.base = name.base.number
    made.count = count
    made.start2M = Int(count)
    made.start1G = made.start2M + Self.regions(name.base, count, .page2M)
    made.total = made.start1G + Self.regions(name.base, count, .page1G)
    let lists = UnsafeMutablePointer<EntryList>.allocate(capacity: made.total)
    // SAFETY: freshly allocated, as many elements.
    unsafe lists.initialize(repeating: EntryList(), count: made.total)
    let tracks = UnsafeMutablePointer<UInt16>.allocate(capacity: Int(count))
    // SAFETY: freshly allocated, as many elements.
    unsafe tracks.initialize(repeating: 0, count: Int(count))
    unsafe made.lists = lists
    unsafe made.tracks = tracks
    unsafe row.pointee = made
  }

  /// Gives the lists of a slot back; traps when an entry still maps one of its frames.
  public func free(_ name: MapRow) {
    let row = unsafe row(name)
    // SAFETY: `row` is in bounds; what it points to has the sizes that it says.
    let made = unsafe row.pointee
    guard let lists = unsafe made.lists, let tracks = unsafe made.tracks else {
      preconditionFailure("a slot's reverse map is freed once")
    }
    for index in 0..<made.total {
      unsafe precondition(lists[index].isEmpty, "nothing maps a slot that goes")
    }
    for index in 0..<Int(made.count) {
      unsafe precondition(tracks[index] == 0, "no table is shadowed in a slot that goes")
    }
    unsafe lists.deallocate()
    unsafe tracks.deallocate()
    unsafe row.pointee = Row()
  }

  private static func regions(_ base: GuestFrame, _ count: UInt64, _ level: Level) -> Int {
    let shift = 9 * UInt64(level.depth - 1)
    return Int((base.number + count - 1) >> shift - base.number >> shift) + 1
  }

  // MARK: Leaves

  private func place(
    _ name: MapRow, _ frame: GuestFrame, _ level: Level
  ) -> UnsafeMutablePointer<EntryList> {
    // SAFETY: `row` is in bounds.
    let made = unsafe row(name).pointee
    let shift = 9 * UInt64(level.depth - 1)
    let start = level == .page4K ? 0 : level == .page2M ? made.start2M : made.start1G
    let end = level == .page4K ? made.start2M : level == .page2M ? made.start1G : made.total
    let index = start + Int((frame.number >> shift) &- (made.base >> shift))
    guard let lists = unsafe made.lists, start <= index, index < end else {
      preconditionFailure("a frame lies in the slot whose reverse map is asked")
    }
    // SAFETY: the index was checked.
    return unsafe lists + index
  }

  /// The leaves of `level` that map `frame`.
  public func leaves(_ row: MapRow, _ frame: GuestFrame, _ level: Level) -> EntryList {
    // SAFETY: `place` is in bounds.
    unsafe place(row, frame, level).pointee
  }

  /// Adds a leaf; how many then map the frame (KVM: `rmap_add`).
  func add(_ entry: HostPhysical, _ row: MapRow, _ frame: GuestFrame, _ level: Level) -> Int {
    // SAFETY: `place` is in bounds.
    unsafe lists.add(entry, to: &place(row, frame, level).pointee)
  }

  /// Takes a leaf out (KVM: `rmap_remove`).
  func remove(_ entry: HostPhysical, _ row: MapRow, _ frame: GuestFrame, _ level: Level) {
    // SAFETY: `place` is in bounds.
    unsafe lists.remove(entry, from: &place(row, frame, level).pointee)
  }

  // MARK: Write tracking

  private func track(_ name: MapRow, _ frame: GuestFrame) -> UnsafeMutablePointer<UInt16> {
    // SAFETY: `row` is in bounds.
    let made = unsafe row(name).pointee
    let index = frame.number &- made.base
    guard let tracks = unsafe made.tracks, index < made.count else {
      preconditionFailure("a frame lies in the slot whose write tracking is asked")
    }
    // SAFETY: the index was checked.
    return unsafe tracks + Int(index)
  }

  /// One reason more that writes to a frame come to the MMU (KVM:
  /// `__kvm_write_track_add_gfn`).
  public func beginTracking(_ row: MapRow, _ frame: GuestFrame) {
    // SAFETY: `track` is in bounds.
    unsafe track(row, frame).pointee += 1
  }

  /// One reason less.
  public func endTracking(_ row: MapRow, _ frame: GuestFrame) {
    // SAFETY: `track` is in bounds; the subtraction traps below 0.
    unsafe track(row, frame).pointee -= 1
  }

  /// How many reasons there are that no entry may let a processor write to a frame (KVM:
  /// `kvm_gfn_is_write_tracked`).
  public func trackCount(_ row: MapRow, _ frame: GuestFrame) -> Int {
    // SAFETY: `track` is in bounds.
    Int(unsafe track(row, frame).pointee)
  }
}
