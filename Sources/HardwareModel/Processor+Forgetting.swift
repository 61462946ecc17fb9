public import PagingUnits

/// What a processor keeps, and how it is made to forget it.
extension Processor {
  /// Forgets what an instruction or a hypervisor says; the registers tell the current PCID.
  public mutating func invalidate(
    _ what: Invalidation, _ registers: borrowing ControlRegisters
  ) {
    let current = registers.cr4 & 1 << 17 != 0 ? UInt16(registers.cr3 & 0xFFF) : 0
    switch what {
    case .everything:
      kept.forget { _ in true }
      walks.forgetAll()
    case .root(let dimension):
      let root = dimension.tag
      kept.forget { $0.root == root }
      walks.forgetAll()
    case .allLinear:
      kept.forget { _ in true }
      walks.forgetLinear()
    case .currentSpace: forget(space: current)
    case .space(let pcid): forget(space: pcid)
    case .allSpaces:
      kept.forget { !$0.rights.global }
      walks.forgetLinear()
    case .linearAddress(let address):
      forget(address) { $0.pcid == current || $0.rights.global }
    case .linearAddressIn(let pcid, let address):
      forget(address) { $0.pcid == pcid && !$0.rights.global }
    }
  }

  private mutating func forget(space pcid: UInt16) {
    kept.forget { $0.pcid == pcid && !$0.rights.global }
    walks.forgetLinear()
  }

  private mutating func forget(_ address: GuestVirtual, where isDoomed: (KeptTranslation) -> Bool) {
    // One address may be kept by pages of several sizes, for different roots and spaces; and a
    // large page of the guest's by parts, all of which go with any of its addresses.
    kept.forget { one in
      let page = ~(one.guestByteCount - 1)
      return (one.page << 12) & page == address.raw & page && isDoomed(one)
    }
    // INVLPG forgets the upper entries of every address of the space (SDM volume 3A, "Operations
    // that Invalidate TLBs and Paging-Structure Caches").
    walks.forgetLinear()
  }

  /// A translation that is kept, as those who check the TLB see it.
  public struct Kept: Hashable, Sendable {
    /// The first linear byte of the page.
    public var linear: GuestVirtual
    /// The first guest-physical byte.
    public var guestPhysical: GuestPhysical
    /// The first host-physical byte.
    public var hostPhysical: HostPhysical
    /// The size of the page.
    public var level: Level
    /// Whether a write would go through without a walk.
    public var isWritable: Bool
    /// Whether a fetch would be permitted by the second dimension.
    public var isExecutable: Bool
    /// The root of the second dimension that it came through.
    public var root: UInt64
  }

  /// How many translations there is room for.
  public var capacity: Int { kept.capacity }

  /// The translation kept in a place, 0..<capacity; `nil` where none is.
  public func keptTranslation(in place: Int) -> Kept? {
    let one = kept[place]
    guard one.page != KeptTranslation.empty else { return nil }
    return Kept(
      linear: GuestVirtual(one.page << 12), guestPhysical: GuestPhysical(one.guestPage),
      hostPhysical: HostPhysical(one.hostPage), level: one.level,
      isWritable: one.second.write && one.second.dirty && one.rights.dirty,
      isExecutable: one.second.execute, root: one.root)
  }

  /// Gives the translation in a place up for no reason, as any processor may at any time.
  public mutating func evict(_ place: Int) { kept.forget(place) }
}
