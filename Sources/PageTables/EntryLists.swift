public import PagingUnits

/// The entries of ours that lead to one thing: the leaves that map a frame, or the entries that
/// point to a table (KVM: `kvm_rmap_head`).
///
/// One word: 0 for none, an entry's address for one, an odd number for a chain of descriptors.
public struct EntryList: Hashable, Sendable {
  var word: UInt64 = 0

  /// No entry.
  public init() {}

  /// Whether it holds no entry.
  public var isEmpty: Bool { word == 0 }
}

/// Where a walk over an entry list stands.
public struct EntryListCursor: Sendable {
  var descriptor: UInt32
  var position: Int
  var single: UInt64
}

/// The descriptors of all entry lists (KVM: `pte_list_desc`).
///
///     ┌──────┬───────┬──────┬────┬────┬─ ─ ─┬────┐
///     │ more │ count │ tail │ e0 │ e1 │ … │ e13│     16 words
///     └──────┴───────┴──────┴────┴────┴─ ─ ─┴────┘
///
/// A full head gets a new head before it, so that only the head may be partly filled; a removed
/// entry leaves its place to the head's last. Everything happens under the writer side of the MMU
/// lock.
@safe public struct EntryLists: ~Copyable, @unchecked Sendable {
  /// How many entries a descriptor holds.
  public static let width = 14
  /// As many as the entries of one table can need: each entry is on one list, and a list with a
  /// descriptor has two at least for each.
  private static let perChunk = 256

  private let chunkLimit: Int
  private let chunks: UnsafeMutablePointer<UnsafeMutablePointer<UInt64>>
  private let accounts: UnsafeMutablePointer<Accounts>

  private struct Accounts {
    var chunkCount = 0
    var firstFree: UInt32 = 0
    var inUse = 0
  }

  /// No descriptor yet; memory comes in chunks of 32 KiB as lists grow, at most one for each of
  /// `tables` tables, 1…2^24 - 1.
  public init(tables: Int) {
    precondition(0 < tables && tables < 1 << 24, "descriptors are numbered in 32 bits")
    chunkLimit = tables
    // SAFETY: both are freed in `deinit`; chunk pointers below the count are initialised, and
    // untouched ones cost address space only.
    unsafe chunks = .allocate(capacity: tables)
    unsafe accounts = .allocate(capacity: 1)
    unsafe accounts.initialize(to: Accounts())
  }

  deinit {
    // SAFETY: the chunks below the count were allocated in `grow`.
    for index in unsafe 0..<accounts.pointee.chunkCount { unsafe chunks[index].deallocate() }
    unsafe chunks.deallocate()
    unsafe accounts.deallocate()
  }

  /// How many descriptors are in use.
  public var descriptorCount: Int {
    // SAFETY: one allocated element.
    unsafe accounts.pointee.inUse
  }

  // MARK: Lists

  /// Adds an entry's address, 8-byte aligned and not 0; how many the list then holds (KVM:
  /// `pte_list_add`).
  public func add(_ entry: HostPhysical, to list: inout EntryList) -> Int {
    precondition(entry.raw & 7 == 0 && entry.raw != 0, "an entry list holds entries' addresses")
    guard list.word != 0 else {
      list.word = entry.raw
      return 1
    }
    if list.word & 1 == 0 {
      let id = take()
      setHeader(id, more: 0, count: 2, tail: 0)
      self[id, 0] = list.word
      self[id, 1] = entry.raw
      list.word = UInt64(id) << 1 | 1
      return 2
    }
    var id = UInt32(list.word >> 1)
    var (more, count, tail) = header(id)
    if count == Self.width {
      let full = id
      id = take()
      (more, tail, count) = (full, tail + count, 0)
      list.word = UInt64(id) << 1 | 1
    }
    self[id, count] = entry.raw
    setHeader(id, more: more, count: count + 1, tail: tail)
    return count + 1 + tail
  }

  /// Takes an entry's address out; traps when it is not in (KVM: `pte_list_remove`).
  public func remove(_ entry: HostPhysical, from list: inout EntryList) {
    precondition(list.word != 0, "an entry that goes is on its list")
    if list.word & 1 == 0 {
      precondition(list.word == entry.raw, "an entry that goes is on its list")
      list.word = 0
      return
    }
    let head = UInt32(list.word >> 1)
    let (more, count, tail) = header(head)
    var id = head
    while id != 0 {
      let (next, here, _) = header(id)
      for position in 0..<here where self[id, position] == entry.raw {
        self[id, position] = self[head, count - 1]
        shrink(&list, head, more, count - 1, tail)
        return
      }
      id = next
    }
    preconditionFailure("an entry that goes is on its list")
  }

  private func shrink(
    _ list: inout EntryList, _ head: UInt32, _ more: UInt32, _ count: Int, _ tail: Int
  ) {
    if count == 1 && more == 0 {
      list.word = self[head, 0]
      give(head)
    } else if count == 0 {
      list.word = UInt64(more) << 1 | 1
      give(head)
    } else {
      setHeader(head, more: more, count: count, tail: tail)
    }
  }

  /// How many entries a list holds.
  public func count(_ list: EntryList) -> Int {
    if list.word & 1 == 0 { return list.word == 0 ? 0 : 1 }
    let (_, count, tail) = header(UInt32(list.word >> 1))
    return count + tail
  }

  /// An entry of a list that is not empty.
  public func first(of list: EntryList) -> HostPhysical? {
    var cursor = walk(list)
    return next(&cursor)
  }

  /// A walk over a list that does not change meanwhile.
  public func walk(_ list: EntryList) -> EntryListCursor {
    list.word & 1 == 0
      ? EntryListCursor(descriptor: 0, position: 0, single: list.word)
      : EntryListCursor(descriptor: UInt32(list.word >> 1), position: 0, single: 0)
  }

  /// The next entry of a walk.
  public func next(_ cursor: inout EntryListCursor) -> HostPhysical? {
    if cursor.single != 0 {
      defer { cursor.single = 0 }
      return HostPhysical(cursor.single)
    }
    while cursor.descriptor != 0 {
      let (more, count, _) = header(cursor.descriptor)
      if cursor.position < count {
        defer { cursor.position += 1 }
        return HostPhysical(self[cursor.descriptor, cursor.position])
      }
      cursor.descriptor = more
      cursor.position = 0
    }
    return nil
  }

  // MARK: Descriptors

  private func words(_ id: UInt32) -> UnsafeMutablePointer<UInt64> {
    let index = Int(id) - 1
    // SAFETY: one allocated element.
    let count = unsafe accounts.pointee.chunkCount
    precondition(0 <= index && index < count * Self.perChunk, "a descriptor was allocated")
    // SAFETY: the chunk was allocated, and a descriptor's 16 words lie inside.
    return unsafe chunks[index / Self.perChunk] + index % Self.perChunk * 16
  }

  private subscript(id: UInt32, position: Int) -> UInt64 {
    get {
      precondition(0 <= position && position < Self.width, "a descriptor holds 14 entries")
      // SAFETY: `words` is in bounds for 16 words.
      return unsafe words(id)[2 + position]
    }
    nonmutating set {
      precondition(0 <= position && position < Self.width, "a descriptor holds 14 entries")
      // SAFETY: `words` is in bounds for 16 words.
      unsafe words(id)[2 + position] = newValue
    }
  }

  private func header(_ id: UInt32) -> (more: UInt32, count: Int, tail: Int) {
    // SAFETY: `words` is in bounds for 16 words.
    let word = unsafe words(id)[0]
    return unsafe (
      UInt32(truncatingIfNeeded: word), Int(word >> 32), Int(truncatingIfNeeded: words(id)[1])
    )
  }

  private func setHeader(_ id: UInt32, more: UInt32, count: Int, tail: Int) {
    // SAFETY: `words` is in bounds for 16 words.
    unsafe words(id)[0] = UInt64(more) | UInt64(count) << 32
    unsafe words(id)[1] = UInt64(tail)
  }

  private func take() -> UInt32 {
    // SAFETY: one allocated element; descriptors on the free list were allocated.
    if unsafe accounts.pointee.firstFree == 0 { grow() }
    let id = unsafe accounts.pointee.firstFree
    unsafe accounts.pointee.firstFree = header(id).more
    unsafe accounts.pointee.inUse += 1
    return id
  }

  private func give(_ id: UInt32) {
    // SAFETY: one allocated element.
    setHeader(id, more: unsafe accounts.pointee.firstFree, count: 0, tail: 0)
    unsafe accounts.pointee.firstFree = id
    unsafe accounts.pointee.inUse -= 1
  }

  private func grow() {
    // SAFETY: one allocated element.
    let chunk = unsafe accounts.pointee.chunkCount
    precondition(chunk < chunkLimit, "a table's entries need no more than 256 descriptors")
    let words = UnsafeMutablePointer<UInt64>.allocate(capacity: Self.perChunk * 16)
    // SAFETY: freshly allocated, as many words.
    unsafe words.initialize(repeating: 0, count: Self.perChunk * 16)
    unsafe (chunks + chunk).initialize(to: words)
    unsafe accounts.pointee.chunkCount = chunk + 1
    for index in (0..<Self.perChunk).reversed() {
      unsafe accounts.pointee.inUse += 1
      give(UInt32(chunk * Self.perChunk + index + 1))
    }
  }
}
