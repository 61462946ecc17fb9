public import PagingUnits

/// What only the tables of shadow paging have beside their rows (KVM: the shadow MMU's fields of
/// `struct kvm_mmu_page`).
public struct ShadowRecord: Sendable {
  /// The entries that point to the table (KVM: `parent_ptes`).
  public internal(set) var parents = EntryList()
  /// Whether the guest may have changed its table without the MMU knowing (KVM: `unsync`).
  public internal(set) var isUnsync = false
  /// Whether the table belongs to one processor: never found, listed or write-protected, and
  /// reached through its children only.
  public var isLocal = false
  /// How many of its entries lead to a table that is out of sync (KVM: `unsync_children`).
  public internal(set) var unsyncChildren = 0
  /// Which of its entries do (KVM: `unsync_child_bitmap`).
  public internal(set) var unsyncBits: InlineArray<8, UInt64> = .init(repeating: 0)
  /// How often the guest wrote to the shadowed table since the MMU last walked through this one
  /// (KVM: `write_flooding_count`).
  public var writeCount: UInt8 = 0

  init() {}

  /// Whether the entry of this index leads to a table that is out of sync.
  public func leadsToUnsync(_ index: Int) -> Bool {
    unsyncBits[index >> 6] >> UInt64(index & 63) & 1 == 1
  }

  /// The first entry, from `start` on, that leads to a table that is out of sync.
  public func firstUnsync(from start: Int) -> Int? {
    var index = start
    while index < 512 {
      let word = unsyncBits[index >> 6] >> UInt64(index & 63)
      if word != 0 { return index + word.trailingZeroBitCount }
      index = (index | 63) + 1
    }
    return nil
  }

  mutating func setUnsync(_ index: Int) {
    unsyncBits[index >> 6] |= 1 << UInt64(index & 63)
    unsyncChildren += 1
  }

  mutating func clearUnsync(_ index: Int) {
    unsyncBits[index >> 6] &= ~(1 << UInt64(index & 63))
    unsyncChildren -= 1
  }
}

/// What an entry of a shadow table translates, beside what the processor reads (KVM:
/// `shadowed_translation`).
public struct ShadowedTranslation: Hashable, Sendable {
  let raw: UInt64

  init(raw: UInt64) { self.raw = raw }

  /// A frame with the rights of the guest's entry.
  public init(_ frame: GuestFrame, _ access: AccessRights) {
    raw = frame.number << 12 | UInt64(access.rawValue)
  }

  /// The guest's frame.
  public var frame: GuestFrame { GuestFrame(raw >> 12) }
  /// The rights that the guest gives, those of upper levels included.
  public var access: AccessRights { AccessRights(rawValue: UInt8(raw & 7)) }
}

/// The memory of the records of all shadow pages, by the numbers of their rows.
///
/// Without shadow paging nothing is kept. A row's translations are allocated when the row is first
/// set aside for shadow paging, outside any lock, and stay with it.
@safe public struct ShadowRecordStore: ~Copyable, @unchecked Sendable {
  /// The records, for whoever holds the MMU lock; good as long as the store is.
  let records: ShadowRecords
  /// How many rows were prepared ever, row 0 included; those from there on are not initialised.
  private let prepared: UnsafeMutablePointer<Int>

  /// Room for `capacity` rows, numbered from 1.
  init(capacity: Int, _ use: ReverseMaps.Use) {
    records = ShadowRecords(capacity: capacity, use)
    // SAFETY: one element, freed in `deinit`.
    unsafe prepared = .allocate(capacity: 1)
    unsafe prepared.initialize(to: 0)
  }

  deinit {
    // SAFETY: nobody uses the records of a machine that has ended.
    unsafe records.free(prepared: prepared.pointee)
    unsafe prepared.deallocate()
  }

  /// Makes a row fit for shadow paging, as new; under the arena's lock.
  func prepare(_ id: ShadowPageID) {
    // SAFETY: rows are initialised in their order, and counted.
    unsafe records.prepare(id, from: &prepared.pointee)
  }
}

/// The records of all shadow pages, by the numbers of their rows.
@safe public struct ShadowRecords: @unchecked Sendable {
  private let capacity: Int
  private let records: UnsafeMutablePointer<ShadowRecord>?
  private let translations: UnsafeMutablePointer<UnsafeMutablePointer<UInt64>?>?

  fileprivate init(capacity: Int, _ use: ReverseMaps.Use) {
    self.capacity = capacity
    guard use == .shadowed else {
      unsafe records = nil
      unsafe translations = nil
      return
    }
    // SAFETY: freed by the store; untouched rows cost address space only.
    unsafe records = .allocate(capacity: capacity + 1)
    unsafe translations = .allocate(capacity: capacity + 1)
  }

  fileprivate func free(prepared: Int) {
    guard let records = unsafe records, let translations = unsafe translations else { return }
    // SAFETY: as many elements are initialised; what they point to was allocated in `prepare`.
    for index in 0..<prepared { unsafe translations[index]?.deallocate() }
    unsafe translations.deallocate()
    unsafe records.deallocate()
  }

  fileprivate func prepare(_ id: ShadowPageID, from prepared: inout Int) {
    guard let records = unsafe records, let translations = unsafe translations else {
      preconditionFailure("only a machine with shadow paging shadows")
    }
    precondition(id != .none && Int(id.number) <= capacity, "a shadow page has a row")
    // SAFETY: one allocated element; rows up to the capacity lie inside the allocations.
    while prepared <= Int(id.number) {
      unsafe (records + prepared).initialize(to: ShadowRecord())
      unsafe (translations + prepared).initialize(to: nil)
      prepared += 1
    }
    // SAFETY: the number was checked, and the row is initialised.
    unsafe records[Int(id.number)] = ShadowRecord()
    if unsafe translations[Int(id.number)] == nil {
      let words = UnsafeMutablePointer<UInt64>.allocate(capacity: 512)
      // SAFETY: freshly allocated, as many words.
      unsafe words.initialize(repeating: 0, count: 512)
      unsafe translations[Int(id.number)] = words
    }
  }

  /// The record of a row that was prepared; the caller holds the MMU lock.
  public subscript(id: ShadowPageID) -> ShadowRecord {
    get {
      // SAFETY: `pointer` is in bounds.
      unsafe pointer(id).pointee
    }
    nonmutating _modify { yield &(unsafe pointer(id).pointee) }
  }

  private func pointer(_ id: ShadowPageID) -> UnsafeMutablePointer<ShadowRecord> {
    guard let records = unsafe records else {
      preconditionFailure("only a machine with shadow paging shadows")
    }
    precondition(id != .none && Int(id.number) <= capacity, "a shadow page has a row")
    // SAFETY: the number was checked.
    return unsafe records + Int(id.number)
  }

  /// What an entry translates.
  subscript(id: ShadowPageID, index: Int) -> ShadowedTranslation {
    get {
      // SAFETY: `word` is in bounds.
      ShadowedTranslation(raw: unsafe word(id, index).pointee)
    }
    nonmutating set {
      // SAFETY: `word` is in bounds.
      unsafe word(id, index).pointee = newValue.raw
    }
  }

  private func word(_ id: ShadowPageID, _ index: Int) -> UnsafeMutablePointer<UInt64> {
    guard let translations = unsafe translations, id != .none, Int(id.number) <= capacity,
      let words = unsafe translations[Int(id.number)], 0 <= index, index < 512
    else { preconditionFailure("a prepared row has 512 translations") }
    // SAFETY: the index was checked.
    return unsafe words + index
  }
}
