public import PagingUnits

/// A place in the list of everything that an address space maps, in the order of addresses.
///
/// The cursor is a value: it knows the entry it stands before at each level, and `next` goes down,
/// aside and up from there. Tables that point to themselves end at the lowest level like any other;
/// since such tables can still fan out to 512⁴ pages, the number of tables entered is bounded by a
/// limit of the caller's choice.
public struct MappingCursor: Sendable {
  /// One page that the address space maps.
  public struct Page: Hashable, Sendable {
    /// The linear address of the page's first byte, in canonical form.
    public var linear: GuestVirtual
    /// The page; `address` is that of its first byte and `wasAccessed` speaks of the leaf alone.
    public var mapping: GuestMapping
  }

  /// One level's place.
  @usableFromInline
  struct Place: Sendable {
    @usableFromInline var table: UInt64 = 0
    @usableFromInline var index: UInt64 = 0
    @usableFromInline var gathered = UInt64.max

    @usableFromInline init() {}
  }

  /// The rules by which entries are read.
  public let rules: WalkRules
  /// The most tables that are entered.
  public let tableLimit: UInt64
  /// How many tables were entered, the root included.
  public private(set) var tableCount: UInt64 = 0
  /// How many present entries were skipped because of a reserved bit.
  public private(set) var malformedCount: UInt64 = 0
  /// How many tables were skipped because they lie where there is no memory.
  public private(set) var absentTableCount: UInt64 = 0
  /// Whether the list is incomplete because the limit was reached.
  public private(set) var reachedLimit = false

  @usableFromInline var places: InlineArray<5, Place>
  @usableFromInline var depth: Int
  @usableFromInline let pdptes: InlineArray<4, UInt64>

  /// A cursor before the first page.
  ///
  /// * `rules`: how entries are read; with paging off there is nothing to list.
  /// * `registers`: CR3 and the PDPTE registers are read.
  /// * `tableLimit`: the most tables that are entered.
  public init(
    _ rules: WalkRules, _ registers: borrowing ControlRegisters, tableLimit: UInt64 = .max
  ) {
    self.init(
      rules, root: registers.cr3, pdptes: registers.pdptes, tableLimit: tableLimit)
  }

  /// A cursor before the first page of EPT- or 4- or 5-level NPT-shaped tables.
  ///
  /// * `rules`: how entries are read.
  /// * `root`: the EPT pointer, or nCR3.
  /// * `tableLimit`: the most tables that are entered.
  public init(_ rules: WalkRules, secondRoot root: UInt64, tableLimit: UInt64 = .max) {
    self.init(rules, root: root, pdptes: .init(repeating: 0), tableLimit: tableLimit)
  }

  private init(
    _ rules: WalkRules, root: UInt64, pdptes: InlineArray<4, UInt64>, tableLimit: UInt64
  ) {
    self.rules = rules
    self.tableLimit = tableLimit
    self.pdptes = pdptes
    depth = rules.rootDepth
    places = .init(repeating: Place())
    guard depth > 0 else { return }
    places[depth - 1].table = root & rules.format.frameMask
    if !rules.hasPDPTERegisters { tableCount = 1 }
  }

  /// How many entries the table at the current level has.
  @usableFromInline var width: UInt64 {
    if rules.hasPDPTERegisters && depth == 3 { return 4 }
    return 1 &<< rules.format.indexBits
  }

  /// The linear address of the entry before which the cursor stood at the current level.
  private func linear(_ index: UInt64) -> GuestVirtual {
    var address = index &<< rules.format.shift(at: depth)
    var level = depth &+ 1
    while level <= rules.rootDepth {
      address |= (places[level - 1].index &- 1) &<< rules.format.shift(at: level)
      level &+= 1
    }
    if rules.requiresCanonical && address &>> (rules.addressBits &- 1) != 0 {
      address |= UInt64.max &<< rules.addressBits
    }
    return GuestVirtual(address)
  }

  /// What the cursor does with an entry.
  @usableFromInline
  enum Step: Sendable {
    case aside
    case found(Page)
    case stop
  }

  /// Looks at the entry `word` of index `index` at the current level.
  @usableFromInline
  mutating func visit(_ word: UInt64, _ index: UInt64) -> Step {
    let format = rules.format
    guard word & format.presentMask != 0 else { return .aside }
    let isRegister = rules.hasPDPTERegisters && depth == 3
    guard isRegister || !rules.reserved.isViolated(by: word, at: depth) else {
      malformedCount &+= 1
      return .aside
    }
    let above = places[depth - 1].gathered
    let isLeaf = !isRegister && (depth == 1 || word & format.pageSizeBit != 0)
    guard isLeaf else {
      guard tableCount < tableLimit else {
        reachedLimit = true
        return .stop
      }
      tableCount &+= 1
      let granted =
        isRegister ? UInt64.max : format.contribution(of: word) | format.unaccumulatedRights
      depth &-= 1
      places[depth - 1].table = word & format.frameMask
      places[depth - 1].index = 0
      places[depth - 1].gathered = above & granted
      return .aside
    }
    let mapping = GuestMapping(
      address: GuestPhysical(format.pageAddress(of: word, at: depth)), level: Level(depth),
      byteCount: format.byteCount(at: depth),
      rights: format.rights(above & format.contribution(of: word)), entry: word,
      wasAccessed: word & format.accessedBit == format.accessedBit,
      isDirty: word & format.dirtyBit == format.dirtyBit,
      isGlobal: word & format.globalBit != 0)
    return .found(Page(linear: linear(index), mapping: mapping))
  }

  /// Skips the rest of a table that cannot be read.
  @usableFromInline
  mutating func skipTable() {
    absentTableCount &+= 1
    places[depth &- 1].index = width
  }

  // `@inlinable`: generic over the memory, as a walk is.
  /// The next page; `nil` when there is none, or the limit is reached.
  @inlinable
  public mutating func next<Memory: GuestTableMemory & ~Copyable>(
    in memory: inout Memory
  ) -> Page? {
    while depth > 0 && depth <= rules.rootDepth && !reachedLimit {
      let place = places[depth &- 1]
      if place.index == width {
        depth &+= 1
        continue
      }
      places[depth &- 1].index = place.index &+ 1
      let read: EntryRead
      if rules.hasPDPTERegisters && depth == 3 {
        read = .entry(pdptes[Int(truncatingIfNeeded: place.index)])
      } else {
        let address = GuestPhysical(place.table | (place.index &<< rules.format.entryShift))
        read =
          rules.format.entryShift == 3
          ? memory.entry(at: address) : memory.shortEntry(at: address)
      }
      switch read {
      case .absent, .refused: skipTable()
      case .entry(0): continue
      case .entry(let word):
        if case .found(let page) = visit(word, place.index) { return page }
      }
    }
    return nil
  }
}
