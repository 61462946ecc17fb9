import HostMemory
public import PagingUnits

/// A place in a tree of tables, and how to go on from there (KVM: `tdp_iter`).
///
/// The path visits entries in pre-order: an entry, then what lies under it. It holds a snapshot of
/// the entry it stands on; when the table changes behind it, the snapshot is stale until `reread`.
public struct EntryPath: Sendable {
  private let memory: PhysicalMemory
  private let frameMask: UInt64
  /// The host-physical address of the table at each level; index 0 is not used.
  private var tables: InlineArray<6, UInt64>
  private let rootLevel: Level
  /// The level below which the path does not go.
  private let lowest: Level
  /// Which memslots the tree maps.
  public let space: AddressSpace
  /// The level of the entry.
  public private(set) var level: Level
  /// The first frame that the entry covers.
  public private(set) var frame: GuestFrame
  /// The entry, as it was when the path came here or last reread it.
  public private(set) var entry: SPTE

  /// Stands at the root's entry that covers `frame`.
  ///
  /// * `root`: the frame of the root table, of `level`.
  /// * `lowest`: the level below which the path does not go.
  public init(
    in pages: borrowing PageTables, root: HostFrame, level: Level, space: AddressSpace,
    frame: GuestFrame, downTo lowest: Level = .page4K
  ) {
    memory = pages.memory
    frameMask = pages.encoding.frameMask
    self.space = space
    self.lowest = lowest
    rootLevel = level
    self.level = level
    tables = .init(repeating: 0)
    tables[Int(level.depth)] = root.address.raw
    self.frame = frame.aligned(to: level)
    entry = .nonpresent
    reread()
  }

  /// Where the entry lies.
  public var address: HostPhysical {
    HostPhysical(tables[Int(level.depth)] &+ UInt64(frame.index(at: level)) &* 8)
  }

  /// Where the entry lies and what it covers.
  public var place: EntryPlace {
    EntryPlace(address: address, frame: frame, level: level, space: space)
  }

  /// The host frame that the entry maps or points to.
  public var target: HostFrame { HostFrame((entry.raw & frameMask) >> 12) }

  /// Reads the entry again.
  public mutating func reread() { entry = SPTE(raw: memory.entry(at: address)) }

  /// Goes down to the entry that covers `target` in the table under this entry, if there is one.
  public mutating func stepDown(towards target: GuestFrame) -> Bool {
    guard level > lowest, entry.isPresentTable(at: level), let below = level.below else {
      return false
    }
    tables[Int(below.depth)] = entry.raw & frameMask
    level = below
    frame = target.aligned(to: below)
    reread()
    return true
  }

  /// Goes to the next entry of the same table; `false` behind the last one.
  public mutating func stepSide() -> Bool {
    guard frame.index(at: level) < 511 else { return false }
    frame = frame + level.frameCount
    reread()
    return true
  }

  /// Goes up to the entry that points to this table; `false` at the root.
  public mutating func stepUp() -> Bool {
    guard level < rootLevel, let above = level.above else { return false }
    level = above
    frame = frame.aligned(to: above)
    reread()
    return true
  }

  /// Goes to the next entry in pre-order; `false` when the tree has no more.
  public mutating func advance() -> Bool {
    if stepDown(towards: frame) { return true }
    return skip()
  }

  /// Goes to the next entry in pre-order that does not lie under this one.
  public mutating func skip() -> Bool {
    while !stepSide() {
      if !stepUp() { return false }
    }
    return true
  }
}

/// Where an entry of ours lies and what it covers.
public struct EntryPlace: Hashable, Sendable {
  /// The entry's own address.
  public let address: HostPhysical
  /// The first frame it covers.
  public let frame: GuestFrame
  /// The level of its table.
  public let level: Level
  /// Which memslots its tree maps.
  public let space: AddressSpace

  /// A place in full.
  public init(address: HostPhysical, frame: GuestFrame, level: Level, space: AddressSpace) {
    self.address = address
    self.frame = frame
    self.level = level
    self.space = space
  }
}
