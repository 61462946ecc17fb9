public import PagingUnits

/// What a processor keeps, for those who check its TLB.
extension Processor {
  /// A translation that is kept.
  public struct Kept: Hashable, Sendable {
    /// The first linear byte of the page.
    public var linear: GuestVirtual
    /// The first guest-physical byte.
    public var guestPhysical: GuestPhysical
    /// The first host-physical byte.
    public var hostPhysical: HostPhysical
    /// The size of the page.
    public var level: Level
    /// Whether a write would go through without a walk, if the guest's own rules permit one.
    public var isWritable: Bool
    /// Whether the entries that linear addresses are translated by permit writes, the dirty bit
    /// aside.
    public var isLinearlyWritable: Bool
    /// Whether a fetch would be permitted by the second dimension.
    public var isExecutable: Bool
    /// Whether it serves every PCID.
    public var isGlobal: Bool
    /// The PCID that it was made under.
    public var pcid: UInt16
    /// The VPID or ASID that it was made under.
    public var identifier: UInt16
    /// The root of the extended page tables that it came through; `nil` for nested page tables,
    /// which leave no trace, and without a second dimension.
    public var root: HostPhysical?
  }

  /// How many translations there is room for.
  public var capacity: Int { kept.capacity }

  /// The translation kept in a place, 0..<capacity; `nil` where none is.
  public func keptTranslation(in place: Int) -> Kept? {
    let one = kept[place]
    guard one.key != KeptTranslation.empty else { return nil }
    return Kept(
      linear: GuestVirtual(one.linear), guestPhysical: GuestPhysical(one.guestPage),
      hostPhysical: HostPhysical(one.hostPage), level: one.level,
      isWritable: one.ready.contains(.write),
      isLinearlyWritable: one.rights.contains(.write),
      isExecutable: one.ready.contains(.fetch), isGlobal: one.rights.contains(.global),
      pcid: one.pcid,
      identifier: one.identifier, root: SecondDimension.root(ofTag: one.root))
  }

  /// A guest-physical page's place in the host that is kept between walks.
  public struct KeptPlace: Hashable, Sendable {
    /// The first guest-physical byte of the 4 KiB page.
    public var guestPhysical: GuestPhysical
    /// The first host-physical byte.
    public var hostPhysical: HostPhysical
    /// The size of the page that the second dimension has there.
    public var level: Level
    /// Whether a write goes by it.
    public var isWritable: Bool
    /// Whether a fetch goes by it.
    public var isExecutable: Bool
  }

  /// A table of the guest's that is kept between walks.
  public struct KeptTable: Hashable, Sendable {
    /// The first linear byte that the table covers.
    public var linear: GuestVirtual
    /// The table's first guest-physical byte.
    public var guestPhysical: GuestPhysical
    /// The table's level.
    public var level: Level
    /// The PCID that it was made under.
    public var pcid: UInt16
  }

  /// How many guest-physical places there is room for.
  public var placeCapacity: Int { WalkCache.physicalCount }
  /// How many tables of the guest's there is room for.
  public var tableCapacity: Int { WalkCache.upperCount }

  /// The sub-page permissions of a guest-physical page that are kept between walks.
  public struct KeptVector: Hashable, Sendable {
    /// The first guest-physical byte of the page.
    public var guestPhysical: GuestPhysical
    /// The root of the extended page tables that they came through.
    public var root: HostPhysical?
    /// The vector: bit `2 * i` lets sub-page `i` be written.
    public var bits: UInt64
  }

  /// How many vectors of sub-page permissions there is room for.
  public var vectorCapacity: Int { SubpageCache.count }

  /// The vector of sub-page permissions kept at an index, 0..<vectorCapacity; `nil` where none is.
  public func keptVector(at index: Int) -> KeptVector? {
    guard let one = vectors.vector(at: index) else { return nil }
    return KeptVector(
      guestPhysical: GuestPhysical(one.address), root: SecondDimension.root(ofTag: one.root),
      bits: one.bits)
  }

  /// The guest-physical place kept at an index, 0..<placeCapacity; `nil` where none is.
  public func keptPlace(at index: Int) -> KeptPlace? {
    guard let one = walks.physical(at: index) else { return nil }
    return KeptPlace(
      guestPhysical: GuestPhysical((one.key - 1) << 12), hostPhysical: HostPhysical(one.hostPage),
      level: one.level, isWritable: one.rights.isSuperset(of: [.write, .dirty]),
      isExecutable: one.rights.contains(.execute))
  }

  /// The table of the guest's kept at an index, 0..<tableCapacity; `nil` where none is.
  public func keptTable(at index: Int) -> KeptTable? {
    guard let one = walks.upper(at: index) else { return nil }
    let depth = Int(one.key & 7)
    let address = (one.key >> 4) << (12 + 9 * UInt64(depth))
    return KeptTable(
      linear: GuestVirtual(address), guestPhysical: GuestPhysical(one.table),
      level: Level(depth), pcid: TranslationTag.pcid(of: one.space))
  }
}
