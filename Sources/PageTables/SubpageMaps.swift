public import PagingUnits

/// Which sub-pages of each frame of each memslot the guest may write (KVM's posted series:
/// `subpage_wp_info` of `kvm_arch_memory_slot`).
///
/// A slot gets its map with the first page that is protected in it; without one, every page may be
/// written. Maps come and go under the memslot lock, and change under the writer side of the MMU
/// lock too; either lock, or the reader side, lets them be read.
@safe public struct SubpageMaps: ~Copyable, @unchecked Sendable {
  private static let capacity = 1 << 16
  private let state: UnsafeMutablePointer<State>

  @safe private struct State {
    /// Room for every row; `nil` until the first slot has a map.
    var rows: UnsafeMutablePointer<Row>?
    /// How many rows were made ever; those from there on are not initialised.
    var rowCount = 0
    /// How many slots have a map.
    var mapCount = 0
  }

  @safe private struct Row {
    var words: UnsafeMutablePointer<SubpageAccess>?
    var base: UInt64 = 0
    var count: UInt64 = 0
    var protectedCount: UInt64 = 0
    /// Whether the slot may have no map.
    var isWithheld = false
  }

  /// No map yet.
  public init() {
    // SAFETY: freed in `deinit`.
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
  }

  deinit {
    // SAFETY: one initialised element; as many rows are initialised as it says.
    if let rows = unsafe state.pointee.rows {
      for index in 0..<(unsafe state.pointee.rowCount) { unsafe rows[index].words?.deallocate() }
      unsafe rows.deallocate()
    }
    unsafe state.deallocate()
  }

  /// How many slots have a map.
  public var mapCount: Int {
    // SAFETY: one initialised element.
    unsafe state.pointee.mapCount
  }

  private func row(_ name: MapRow) -> UnsafeMutablePointer<Row>? {
    // SAFETY: one initialised element.
    guard let rows = unsafe state.pointee.rows, unsafe Int(name.number) < state.pointee.rowCount
    else { return nil }
    // SAFETY: the number was checked, and the row is initialised.
    let row = unsafe rows + Int(name.number)
    return unsafe row.pointee.words == nil ? nil : row
  }

  /// Whether a slot has a map.
  public func hasMap(_ name: MapRow) -> Bool { unsafe row(name) != nil }

  /// How many pages of a slot are protected.
  public func protectedCount(_ name: MapRow) -> UInt64 {
    // SAFETY: `row` is in bounds.
    unsafe row(name)?.pointee.protectedCount ?? 0
  }

  /// Makes the map of a slot of `count` frames, with every page open; nothing if it has one.
  public func make(_ name: MapRow, frames count: UInt64) {
    precondition(Int(name.number) < Self.capacity, "there are 65,536 rows")
    guard !hasMap(name) else { return }
    makeRow(name)
    let words = UnsafeMutablePointer<SubpageAccess>.allocate(capacity: Int(count))
    // SAFETY: freshly allocated, as many elements.
    unsafe words.initialize(repeating: .all, count: Int(count))
    var made = Row()
    unsafe made.words = words
    made.base = name.base.number
    made.count = count
    // SAFETY: the row lies inside the allocation and is initialised.
    unsafe state.pointee.rows?[Int(name.number)] = made
    unsafe state.pointee.mapCount += 1
  }

  private func makeRow(_ name: MapRow) {
    // SAFETY: one initialised element; untouched rows cost address space only.
    if unsafe state.pointee.rows == nil {
      unsafe state.pointee.rows = .allocate(capacity: Self.capacity)
    }
    // SAFETY: the rows up to this one lie inside the allocation.
    while let rows = unsafe state.pointee.rows, unsafe state.pointee.rowCount <= Int(name.number) {
      unsafe (rows + state.pointee.rowCount).initialize(to: Row())
      unsafe state.pointee.rowCount += 1
    }
  }

  /// Says that a slot may have no map.
  public func withhold(_ name: MapRow) {
    makeRow(name)
    // SAFETY: the row lies inside the allocation and is initialised.
    unsafe state.pointee.rows?[Int(name.number)].isWithheld = true
  }

  /// Whether a slot may have no map.
  public func isWithheld(_ name: MapRow) -> Bool {
    // SAFETY: one initialised element.
    guard let rows = unsafe state.pointee.rows, unsafe Int(name.number) < state.pointee.rowCount
    else { return false }
    // SAFETY: the number was checked, and the row is initialised.
    return unsafe rows[Int(name.number)].isWithheld
  }

  /// Gives the map of a slot back, if it has one.
  public func free(_ name: MapRow) {
    if isWithheld(name) {
      // SAFETY: only a row that was made is withheld.
      unsafe state.pointee.rows?[Int(name.number)].isWithheld = false
    }
    guard let row = unsafe row(name) else { return }
    // SAFETY: `row` is in bounds, and its words were allocated in `make`.
    unsafe row.pointee.words?.deallocate()
    unsafe row.pointee = Row()
    // SAFETY: one initialised element.
    unsafe state.pointee.mapCount -= 1
  }

  /// What of a frame the guest may write; setting it needs a map.
  public subscript(name: MapRow, frame: GuestFrame) -> SubpageAccess {
    get {
      guard let row = unsafe row(name) else { return .all }
      let index = unsafe Self.index(row, frame)
      // SAFETY: the index was checked, and a row that is found has words.
      return unsafe row.pointee.words?[index] ?? .all
    }
    nonmutating set {
      guard let row = unsafe row(name) else {
        preconditionFailure("a slot's map is made before a page is protected")
      }
      let index = unsafe Self.index(row, frame)
      // SAFETY: the index was checked, and a row that is found has words.
      let old = unsafe row.pointee.words?[index] ?? .all
      if old.isProtected { unsafe row.pointee.protectedCount -= 1 }
      if newValue.isProtected { unsafe row.pointee.protectedCount += 1 }
      unsafe row.pointee.words?[index] = newValue
    }
  }

  private static func index(_ row: UnsafeMutablePointer<Row>, _ frame: GuestFrame) -> Int {
    // SAFETY: the caller's row is in bounds.
    let (base, count) = unsafe (row.pointee.base, row.pointee.count)
    let index = frame.number &- base
    precondition(index < count, "a frame lies in the slot whose map is asked")
    return Int(index)
  }
}
