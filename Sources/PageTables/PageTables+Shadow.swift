public import HostMemory
import MachineEvents
import Mutations
public import PagingUnits

/// An entry of a shadow table, by its table and index.
public struct ShadowPlace: Hashable, Sendable {
  /// The table.
  public let page: ShadowPageID
  /// The index, 0..<512.
  public let index: Int

  /// Names an entry.
  public init(_ page: ShadowPageID, _ index: Int) {
    self.page = page
    self.index = index
  }
}

/// Shadow pages: what they translate, and who leads to them.
///
/// Everything here happens under the writer side of the MMU lock, unless it says otherwise.
extension PageTables {
  /// Fills a cache for a shadow fault, which needs more than a direct one: `count` tables, at most
  /// `TableCache.capacity`; before any lock is taken.
  ///
  /// What the guest's own faults and stores drove out comes back first: no operation of the VMM's
  /// need ever do it, and a guest that has tables made and dropped for ever holds no more of them
  /// than its share.
  public func topUpShadow(
    _ cache: inout TableCache, _ count: Int, from host: borrowing HostMemory
  ) -> TopUp {
    if cache.count < count { reclaim(to: host) }
    while cache.count < count {
      guard let table = arena.stock(from: host) else { return .refused }
      arena.lock.withLock { shadowStore.prepare(table) }
      cache.put(table)
    }
    return .ready
  }

  /// Makes the table that is taken next from a cache one below 4 GiB.
  public func setLowTableAside(
    in cache: inout TableCache, from host: borrowing HostMemory
  ) -> TopUp {
    if cache.count > 0, FrameZone.below4G.contains(arena[cache[cache.count - 1]].frame) {
      return .ready
    }
    guard let table = arena.stock(from: host, in: .below4G) else { return .refused }
    arena.lock.withLock { shadowStore.prepare(table) }
    cache.put(table)
    return .ready
  }

  /// Takes a table from a cache and says what it is; with `listed`, it can be found from now on.
  public func makeShadow(
    from cache: inout TableCache, _ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8,
    _ listing: ShadowListing
  ) -> ShadowPageID {
    let id = makeTable(from: &cache, frame, role, generation: generation)
    switch listing {
    case .listed: arena.enlist(id)
    case .local:
      arena.goLive(id)
      shadow[id].isLocal = true
    }
    return id
  }

  /// Whether a shadow page can be found.
  public enum ShadowListing: Hashable, Sendable {
    /// By its frame and role, and on the active list.
    case listed
    /// Only by its processor and its children.
    case local
  }

  /// Where an entry lies.
  public func address(of place: ShadowPlace) -> HostPhysical {
    arena[place.page].frame.address + UInt64(place.index) * 8
  }

  /// The entry at an address that an entry list holds.
  public func place(at address: HostPhysical, _ host: borrowing HostMemory) -> ShadowPlace {
    ShadowPlace(page(of: address.frame, host), Int(address.pageOffset >> 3))
  }

  /// An entry.
  public func entry(at place: ShadowPlace) -> SPTE {
    SPTE(raw: memory.entry(at: address(of: place)))
  }

  /// The table that an entry points to; `nil` when it points to none.
  public func child(at place: ShadowPlace, _ host: borrowing HostMemory) -> ShadowPageID? {
    let entry = entry(at: place)
    guard entry.isPresentTable(at: arena[place.page].role.level) else { return nil }
    return page(of: encoding.frame(of: entry), host)
  }

  /// Whether a guest's table stands behind a shadow page, entry by entry.
  public func hasGuestEntries(_ id: ShadowPageID) -> Bool {
    arena[id].role.hasGuestEntries && !shadow[id].isLocal
  }

  /// What an entry translates (KVM: `kvm_mmu_page_get_gfn`, `kvm_mmu_page_get_access`).
  public func translation(at place: ShadowPlace) -> ShadowedTranslation {
    let row = arena[place.page]
    if row.role.isPassthrough { return ShadowedTranslation(row.guestFrame, row.role.access) }
    if row.role.isDirect {
      return ShadowedTranslation(
        row.guestFrame + UInt64(place.index) * row.role.level.frameCount, row.role.access)
    }
    return shadow[place.page, place.index]
  }

  // MARK: The shadow entry door

  /// Replaces an entry of a shadow table; the only place where such entries change.
  ///
  /// It keeps reverse maps, parent links, unsync marks, statistics and the host's marks in step.
  ///
  /// * `translation`: what the new entry translates, when it is a leaf.
  /// * `old`: the row of the slot of the frame that a leaf in this place maps now.
  /// * `new`: the row of the slot of the frame that the new leaf maps.
  public func change(
    _ place: ShadowPlace, to new: SPTE, _ translation: ShadowedTranslation?,
    rows old: MapRow?, _ newRow: MapRow?, _ host: borrowing HostMemory
  ) -> PendingFlush {
    let address = address(of: place)
    let level = arena[place.page].role.level
    interleaver.reach(.beforeEntryReplacement, address.raw)
    let seen = SPTE(raw: memory.entry(at: address))
    var before = seen
    if seen.isPresentLeaf(at: level) && encoding.hasVolatileBits(seen) {
      before = SPTE(raw: memory.exchangeEntry(new.raw, at: address))
    } else {
      memory.setEntry(new.raw, at: address)
    }
    var flush = PendingFlush()
    let frame = self.translation(at: place).frame
    let wasLeaf = before.isPresentLeaf(at: level)
    let isLeaf = new.isPresentLeaf(at: level)
    precondition(
      !(wasLeaf && isLeaf && encoding.frame(of: before) != encoding.frame(of: new)),
      "a mapping moves to another frame only through an empty entry")
    if wasLeaf {
      markHostPage(before, unless: isLeaf ? new : nil, host)
      let isLost = !isLeaf || encoding.owesFlush(from: before, to: new)
      if isLost && !Mutation.shadowLeafGoesWithoutFlush.isActive { flush.owe(frame, level) }
    }
    let isListed = level == .page4K || !Mutation.largeLeafNotRecorded.isActive
    if wasLeaf && !isLeaf && isListed {
      guard let old else { preconditionFailure("a leaf that goes has the row of its slot") }
      maps.remove(address, old, frame, level)
      count(-1, at: level)
    }
    if before.isPresentTable(at: level) && before != new {
      unlink(page(of: encoding.frame(of: before), host), from: place, address, host)
      flush.owe(arena[place.page].guestFrame, level)
    }
    let isRecorded = !(Mutation.recordedRightsStale.isActive && wasLeaf && isLeaf)
    if let translation, isRecorded, !arena[place.page].role.isDirect {
      shadow[place.page, place.index] = translation
    }
    if isLeaf && !wasLeaf && isListed {
      guard let newRow, let translation else {
        preconditionFailure("a leaf that comes has a translation and the row of its slot")
      }
      let length = maps.add(address, newRow, translation.frame, level)
      counters.raise(.max_mmu_rmap_size, to: Int64(length))
      count(1, at: level)
      if length > Self.leafLimit {
        flush.add(dropLeaves(of: translation.frame, level, newRow, host))
      }
    }
    if new.isPresentTable(at: level) && before != new {
      link(page(of: encoding.frame(of: new), host), to: place, address, host)
    }
    return flush
  }

  /// How many leaves of a level may map one frame: with one more all of them go, and come again one
  /// by one (KVM: `RMAP_RECYCLE_THRESHOLD`).
  ///
  /// Whoever takes a leaf out looks for it among the others; a guest that maps one frame everywhere
  /// would have the MMU search without end.
  public static var leafLimit: Int { 1000 }

  /// Takes away every leaf of `level` that maps a frame, whose slot's row is `row` (KVM:
  /// `kvm_zap_all_rmap_sptes`).
  public func dropLeaves(
    of frame: GuestFrame, _ level: Level, _ row: MapRow, _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    while let more = dropFirstLeaf(of: frame, level, row, host) { owed.add(more) }
    return owed
  }

  /// Takes away one leaf of `level` that maps a frame, whose slot's row is `row`; `nil` when there
  /// is none.
  public func dropFirstLeaf(
    of frame: GuestFrame, _ level: Level, _ row: MapRow, _ host: borrowing HostMemory
  ) -> PendingFlush? {
    guard let address = maps.lists.first(of: maps.leaves(row, frame, level)) else { return nil }
    let place = place(at: address, host)
    precondition(
      entry(at: place).isPresentLeaf(at: level), "an entry that a reverse map names is a leaf")
    return change(place, to: .nonpresent, nil, rows: row, nil, host)
  }

  private func link(
    _ child: ShadowPageID, to place: ShadowPlace, _ address: HostPhysical,
    _ host: borrowing HostMemory
  ) {
    if Mutation.secondParentNotRecorded.isActive && !shadow[child].parents.isEmpty { return }
    _ = maps.lists.add(address, to: &shadow[child].parents)
    if Mutation.unsyncMarkLostOnLink.isActive { return }
    if shadow[child].isUnsync || shadow[child].unsyncChildren > 0 { markUnsync(place, host) }
  }

  private func unlink(
    _ child: ShadowPageID, from place: ShadowPlace, _ address: HostPhysical,
    _ host: borrowing HostMemory
  ) {
    maps.lists.remove(address, from: &shadow[child].parents)
    if !Mutation.unsyncMarkLeftOnUnlink.isActive { clearUnsync(place, host) }
  }

  // MARK: Unsync marks

  /// A level-1 table may differ from the guest's from now on (KVM: `kvm_unsync_page`).
  public func setUnsync(_ id: ShadowPageID, _ host: borrowing HostMemory) {
    precondition(!shadow[id].isUnsync, "a table goes out of sync once")
    tap.record(.unsyncPage(record(of: id)))
    counters.add(to: .mmu_unsync)
    shadow[id].isUnsync = true
    if !Mutation.lostUnsyncMark.isActive { markParents(of: id, host) }
  }

  /// A level-1 table is like the guest's again, or goes (KVM: `kvm_unlink_unsync_page`).
  public func clearUnsync(_ id: ShadowPageID, _ host: borrowing HostMemory) {
    guard shadow[id].isUnsync else { return }
    tap.record(.syncPage(record(of: id)))
    counters.add(-1, to: .mmu_unsync)
    shadow[id].isUnsync = false
    var walk = maps.lists.walk(shadow[id].parents)
    while let address = maps.lists.next(&walk) { clearUnsync(place(at: address, host), host) }
  }

  private func markParents(of id: ShadowPageID, _ host: borrowing HostMemory) {
    var walk = maps.lists.walk(shadow[id].parents)
    while let address = maps.lists.next(&walk) { markUnsync(place(at: address, host), host) }
  }

  /// An entry leads to a table out of sync, and so do those that lead to its own; the recursion is
  /// as deep as a tree.
  private func markUnsync(_ place: ShadowPlace, _ host: borrowing HostMemory) {
    guard !shadow[place.page].leadsToUnsync(place.index) else { return }
    shadow[place.page].setUnsync(place.index)
    if Mutation.unsyncMarkStopsAtLevel2.isActive { return }
    if shadow[place.page].unsyncChildren == 1 { markParents(of: place.page, host) }
  }

  private func clearUnsync(_ place: ShadowPlace, _ host: borrowing HostMemory) {
    guard shadow[place.page].leadsToUnsync(place.index) else { return }
    shadow[place.page].clearUnsync(place.index)
    guard shadow[place.page].unsyncChildren == 0 else { return }
    var walk = maps.lists.walk(shadow[place.page].parents)
    while let address = maps.lists.next(&walk) { clearUnsync(self.place(at: address, host), host) }
  }
}
