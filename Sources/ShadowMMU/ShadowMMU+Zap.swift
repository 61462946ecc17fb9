public import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
public import PageTables
import PagingUnits
import Synchronization

/// Shadow pages that go.
extension ShadowMMU {
  /// Unlinks a page from everything, so that nobody finds it any more (KVM:
  /// `kvm_mmu_prepare_zap_page`).
  ///
  /// Tables out of sync below it go with it. A root that a processor uses becomes invalid and goes
  /// with the last reference.
  func prepareZap(
    _ id: ShadowPageID, _ pending: inout PendingZap, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    tables.tap.record(.prepareZapPage(tables.record(of: id)))
    tables.counters.add(to: .mmu_shadow_zapped)
    while let below = unsyncTable(under: id, tables, host) {
      prepareZap(below, &pending, tables, slots, host)
    }
    unlinkChildren(of: id, &pending, tables, slots, host)
    if !Mutation.missingParentUnlink.isActive {
      unlinkParents(of: id, &pending, tables, slots, host)
    }
    if tables.hasGuestEntries(id) { unaccount(id, tables, slots) }
    tables.clearUnsync(id, host)
    tables.arena.delist(id)
    tables.arena.invalidateTable(id)
    if tables.arena[id].rootReferences == 0 {
      pending.add(id, tables)
    } else {
      pending.hasInvalidRoot = true
      // A processor may be walking it: what it kept of the entries goes at once.
      pending.flush.owe(tables.arena[id].guestFrame, .level5)
    }
  }

  /// Empties every entry of a page.
  func unlinkChildren(
    of id: ShadowPageID, _ pending: inout PendingZap, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    let frame = tables.arena[id].frame
    var index = 0
    while let found = tables.memory.firstEntry(
      in: frame, from: index, unlike: SPTE.nonpresent.raw)
    {
      pending.flush.add(drop(ShadowPlace(id, found), tables, slots, host))
      index = found + 1
    }
  }

  private func unlinkParents(
    of id: ShadowPageID, _ pending: inout PendingZap, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    while let address = tables.maps.lists.first(of: tables.shadow[id].parents) {
      let place = tables.place(at: address, host)
      precondition(tables.child(at: place, host) == id, "a recorded parent leads to its table")
      pending.flush.add(drop(place, tables, slots, host))
    }
  }

  /// A table out of sync somewhere below a page.
  private func unsyncTable(
    under id: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> ShadowPageID? {
    var page = id
    while let index = tables.shadow[page].firstUnsync(from: 0) {
      guard let child = tables.child(at: ShadowPlace(page, index), host) else {
        preconditionFailure("an entry that is marked leads to a table")
      }
      if tables.shadow[child].isUnsync { return child }
      page = child
    }
    return nil
  }

  // MARK: The limit

  /// How many tables a fault may need (KVM: `KVM_MIN_FREE_MMU_PAGES`).
  static var neededPages: Int { 5 }
  /// How many are made available at once (KVM: `KVM_REFILL_PAGES`).
  static var refillPages: Int { 25 }

  /// Zaps the oldest pages until a fault has room; `false` when every page is a root in use (KVM:
  /// `make_mmu_pages_available`).
  func makeRoom(
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) -> Bool {
    let available = pageLimit - tables.arena.activeCount
    guard available < Self.neededPages else { return true }
    let count = zapOldest(Self.refillPages - available, &pending, tables, slots, host)
    tables.counters.add(Int64(count), to: .mmu_recycled)
    return pageLimit - tables.arena.activeCount > 0
  }

  /// Zaps the oldest pages, at least `count` if there are as many; how many went (KVM:
  /// `kvm_mmu_zap_oldest_mmu_pages`).
  func zapOldest(
    _ count: Int, _ pending: inout PendingZap, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> Int {
    let before = tables.arena.activeCount
    while before - tables.arena.activeCount < count {
      var id = tables.arena.nextOldest(after: .none)
      while id != .none && tables.arena[id].rootReferences > 0
        && !Mutation.staleCheckBeforeReclaim.isActive
      {
        id = tables.arena.nextOldest(after: id)
      }
      if id == .none { break }
      prepareZap(id, &pending, tables, slots, host)
    }
    return before - tables.arena.activeCount
  }

  /// Changes the limit, zapping the oldest pages if there are too many (KVM:
  /// `kvm_mmu_change_mmu_pages`).
  public func setPageLimit(
    _ limit: Int, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    precondition(limit >= 64, "shadow paging needs 64 pages at least")
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    currentLimit.store(limit, ordering: .relaxed)
    var pending = PendingZap()
    let excess = tables.arena.activeCount - limit
    if excess > 0 { _ = zapOldest(excess, &pending, tables, slots, host) }
    pending.commit(tables)
  }

  /// Gives the oldest pages back that no processor has for a root, at most `count`, as a shrinker
  /// does; how many went (KVM: `mmu_shrink_scan`).
  @discardableResult
  public func trim(
    _ count: Int, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) -> Int {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    let gone = zapOldest(count, &pending, tables, slots, host)
    pending.commit(tables)
    return gone
  }

  // MARK: Everything

  /// Makes every page obsolete at once (KVM: the front half of `kvm_mmu_zap_all_fast`).
  ///
  /// The caller asks every processor to leave its root, and zaps the pages with `zapObsolete`.
  public func invalidateAll(_ tables: borrowing PageTables) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    tables.tap.record(
      .zapAllFast(generation: generation, usedPages: UInt32(tables.arena.activeCount)))
    if Mutation.generationStays.isActive { return }
    currentGeneration.store(generation ^ 1, ordering: .relaxed)
  }

  /// Zaps the pages of the generation before, oldest first (KVM: `kvm_zap_obsolete_pages`).
  public func zapObsolete(
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    var id = tables.arena.nextOldest(after: .none)
    while id != .none {
      if tables.arena[id].generation != generation {
        prepareZap(id, &pending, tables, slots, host)
        // Others may have gone with it.
        id = tables.arena.nextOldest(after: .none)
      } else {
        id = tables.arena.nextOldest(after: id)
      }
    }
    pending.commit(tables)
  }
}
