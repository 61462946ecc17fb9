import HostMemory
import Mutations
import PagingUnits
import Synchronization

/// The metadata of all slots: for each 2 MiB and each 1 GiB of a slot one word that says why no
/// huge page may be there (KVM: `kvm_arch_memory_slot.lpage_info`).
///
/// Rows are made and freed under the memslot lock; the words are atomic.
@safe struct MemslotMetadataStore: ~Copyable {
  /// A slot's words: first those of 2 MiB regions, then those of 1 GiB regions.
  @safe struct Row {
    var words: UnsafeMutablePointer<Atomic<UInt32>>?
    var count2M = 0
    var count1G = 0
    var nextFree: UInt32 = 0

    var count: Int { count2M + count1G }
  }

  /// The state that changes under the memslot lock.
  struct Accounts {
    var rowCount: UInt32 = 0
    var firstFree: UInt32 = 0
    var rowsInUse = 0
    var bytes: UInt64 = 0
    var byteLimit: UInt64
  }

  static var capacity: UInt32 { 1 << 16 }
  private let rows: UnsafeMutablePointer<Row>
  private let accounts: UnsafeMutablePointer<Accounts>

  init(byteLimit: UInt64) {
    // SAFETY: rows are initialised when they are first taken, and freed in `deinit`.
    unsafe rows = .allocate(capacity: Int(Self.capacity))
    unsafe accounts = .allocate(capacity: 1)
    // SAFETY: freshly allocated for one value.
    unsafe accounts.initialize(to: Accounts(byteLimit: byteLimit))
  }

  deinit {
    // SAFETY: rows below `rowCount` are initialised; nobody can reach them any more.
    for index in unsafe 0..<accounts.pointee.rowCount {
      // SAFETY: as above; the words were allocated in `make`.
      unsafe rows[Int(index)].words?.deallocate()
    }
    unsafe rows.deallocate()
    unsafe accounts.deallocate()
  }

  /// How many slots have metadata.
  var rowsInUse: Int {
    // SAFETY: the accounts live as long as the store; the memslot lock is held.
    unsafe accounts.pointee.rowsInUse
  }

  /// How many bytes the words take.
  var byteCount: UInt64 {
    // SAFETY: the accounts live as long as the store; the memslot lock is held.
    unsafe accounts.pointee.bytes
  }

  func setByteLimit(_ bytes: UInt64) {
    // SAFETY: the accounts live as long as the store; the memslot lock is held.
    unsafe accounts.pointee.byteLimit = bytes
  }

  // MARK: Making and freeing

  /// The words for a slot, with the regions refused that can never be huge; `nil` at the limit.
  func make(for slot: Memslot) -> MemslotMetadataID? {
    let count2M = Self.count(slot, .page2M)
    let count1G = Self.count(slot, .page1G)
    let bytes = UInt64(count2M + count1G) * 4
    // SAFETY: the accounts live as long as the store; the memslot lock is held.
    let limit = unsafe accounts.pointee.byteLimit
    // SAFETY: as above.
    let used = unsafe accounts.pointee.bytes
    guard used <= limit, bytes <= limit - used, let index = takeRow() else { return nil }
    let words = UnsafeMutablePointer<Atomic<UInt32>>.allocate(capacity: count2M + count1G)
    for word in 0..<(count2M + count1G) {
      // SAFETY: the word is below the count just allocated.
      unsafe (words + word).initialize(to: Atomic(0))
    }
    // SAFETY: the row was just taken; the memslot lock is held.
    unsafe rows[Int(index)] = Row(words: words, count2M: count2M, count1G: count1G)
    unsafe accounts.pointee.bytes += bytes
    let id = MemslotMetadataID(row: index)
    refuseUnaligned(slot, id, .page2M)
    refuseUnaligned(slot, id, .page1G)
    return id
  }

  /// Gives the words of a slot back.
  func free(_ id: MemslotMetadataID) {
    // SAFETY: an id names an initialised row; the memslot lock is held.
    let row = unsafe rows[Int(id.row)]
    guard let words = unsafe row.words else {
      preconditionFailure("a slot's metadata is freed once")
    }
    unsafe words.deallocate()
    // SAFETY: as above.
    unsafe rows[Int(id.row)] = Row(words: nil, nextFree: accounts.pointee.firstFree)
    unsafe accounts.pointee.firstFree = id.row + 1
    unsafe accounts.pointee.rowsInUse -= 1
    unsafe accounts.pointee.bytes -= UInt64(row.count) * 4
  }

  private func takeRow() -> UInt32? {
    // SAFETY: the accounts live as long as the store; rows below `rowCount` are initialised.
    let free = unsafe accounts.pointee.firstFree
    if free != 0 {
      unsafe accounts.pointee.firstFree = rows[Int(free - 1)].nextFree
      unsafe accounts.pointee.rowsInUse += 1
      return free - 1
    }
    let index = unsafe accounts.pointee.rowCount
    guard index < Self.capacity else { return nil }
    // SAFETY: the row is below the capacity.
    unsafe (rows + Int(index)).initialize(to: Row())
    unsafe accounts.pointee.rowCount = index + 1
    unsafe accounts.pointee.rowsInUse += 1
    return index
  }

  /// How many naturally aligned regions of `level` the slot touches.
  static func count(_ slot: Memslot, _ level: Level) -> Int {
    if Mutation.lpageArrayOffByOne.isActive { return Int(slot.frameCount / level.frameCount) }
    let shift = 9 * UInt64(level.depth - 1)
    let last = slot.baseFrame.number + slot.frameCount - 1
    return Int((last >> shift) - (slot.baseFrame.number >> shift)) + 1
  }

  private func refuseUnaligned(_ slot: Memslot, _ id: MemslotMetadataID, _ level: Level) {
    if Mutation.misalignedHugePagesAllowed.isActive { return }
    let mask = level.frameCount - 1
    let count = Self.count(slot, level)
    let host = slot.hostAddress.raw >> 12
    if (slot.baseFrame.number ^ host) & mask != 0 {
      // No frame of the slot lies in its huge page as its host page does in the host's.
      for index in 0..<count { store(1, id, level, index) }
      return
    }
    if slot.baseFrame.number & mask != 0 { store(1, id, level, 0) }
    if Mutation.slotTailNotRefused.isActive { return }
    if (slot.baseFrame.number + slot.frameCount) & mask != 0 { store(1, id, level, count - 1) }
  }

  private func store(_ value: UInt32, _ id: MemslotMetadataID, _ level: Level, _ index: Int) {
    // SAFETY: `word` is in bounds.
    unsafe word(id, level, index).pointee.store(value, ordering: .relaxed)
  }

  // MARK: Words

  /// The word of a region of `level` by its position in the slot.
  func word(
    _ id: MemslotMetadataID, _ level: Level, _ index: Int
  ) -> UnsafeMutablePointer<Atomic<UInt32>> {
    // SAFETY: an id names an initialised row.
    let row = unsafe rows[Int(id.row)]
    let is2M = level == .page2M
    let count = is2M ? row.count2M : row.count1G
    guard let words = unsafe row.words, 0 <= index, index < count, is2M || level == .page1G else {
      preconditionFailure("a huge page's word is one of 2 MiB or 1 GiB inside the slot")
    }
    return unsafe words + (is2M ? index : row.count2M + index)
  }
}
