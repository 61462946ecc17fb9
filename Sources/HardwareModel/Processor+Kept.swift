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
      isExecutable: one.ready.contains(.fetch), isGlobal: one.rights.contains(.global),
      pcid: one.pcid,
      identifier: one.identifier, root: SecondDimension.root(ofTag: one.root))
  }
}
