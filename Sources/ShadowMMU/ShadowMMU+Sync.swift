import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits
import X86Paging

/// Level-1 tables that are out of sync, brought up to date.
extension ShadowMMU {
  /// What came of an attempt to bring something up to date.
  enum SyncOutcome: Hashable, Sendable {
    /// It translates no more than the guest's table does now.
    case synced
    /// It could not be: the guest's table cannot be read, or is read otherwise now.
    case failed
  }

  /// An 8- or 4-byte entry of a guest's table, if the host has the page at hand; under the MMU
  /// lock (KVM: `kvm_vcpu_read_guest_atomic`).
  func guestEntry(
    at address: GuestPhysical, short: Bool, in space: AddressSpace,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) -> UInt64? {
    guard let slot = slots.slot(containing: address.frame, in: space), !slot.isInvalid else {
      return nil
    }
    return process.word(
      at: slot.hostAddress(of: address.frame) + address.pageOffset, short ? .four : .eight)
  }

  /// The eight entries of the guest's from that of a level-1 entry of ours on, whose index is a
  /// multiple of eight.
  private func guestEntries(
    from place: ShadowPlace, _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace,
    _ tables: borrowing PageTables
  ) -> InlineArray<8, UInt64>? {
    let row = tables.arena[place.page]
    let address = guestAddress(of: place, row)
    guard let slot = slots.slot(containing: address.frame, in: row.role.space), !slot.isInvalid
    else { return nil }
    return process.eightWords(
      at: slot.hostAddress(of: address.frame) + address.pageOffset,
      row.role.hasShortEntries ? .four : .eight)
  }

  /// Where the guest's entry of a level-1 entry of ours lies.
  func guestAddress(of place: ShadowPlace, _ row: ShadowPage) -> GuestPhysical {
    if Mutation.quadrantIgnoredOnSync.isActive && row.role.hasShortEntries {
      return row.guestFrame.address + UInt64(place.index) * 4
    }
    return row.role.hasShortEntries
      ? row.guestFrame.address + UInt64(row.role.quadrant * 512 + place.index) * 4
      : row.guestFrame.address + UInt64(place.index) * 8
  }

  /// What a level-1 entry of the guest's translates in a table with some rights; `nil` when the
  /// processor has not used it, or may not.
  ///
  /// A page that is clean may not be written, so that the first write comes to the MMU.
  func translation(
    of word: UInt64, under rights: AccessRights, _ rules: borrowing WalkRules
  ) -> ShadowedTranslation? {
    let format = rules.format
    let isUsed =
      word & format.accessedBit == format.accessedBit
      || Mutation.accessedBitLostThroughSync.isActive
    guard isUsed, case .page(let address, let own) = rules.meaning(of: word, at: .page4K)
    else { return nil }
    var access = rights.intersection(own)
    if Mutation.syncIgnoresUpperRights.isActive { access = own }
    if word & format.dirtyBit != format.dirtyBit && !Mutation.dirtyBitLostThroughSync.isActive {
      access.remove(.write)
    }
    return ShadowedTranslation(address.frame, access)
  }

  /// Brings every entry of a table up to date; one that cannot be is zapped (KVM:
  /// `kvm_sync_page`).
  ///
  /// Entries are dropped, restricted or remade; none comes that was not there.
  func sync(
    _ id: ShadowPageID, _ state: borrowing ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> SyncOutcome {
    let role = tables.arena[id].role
    var outcome = SyncOutcome.failed
    if !role.isDirect && role.treeWord == state.rootRole.treeWord {
      outcome = syncEntries(of: id, state, &pending, tables, slots, process)
    }
    if outcome == .failed { prepareZap(id, &pending, tables, slots, process.host) }
    return outcome
  }

  private func syncEntries(
    of id: ShadowPageID, _ state: borrowing ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> SyncOutcome {
    let (frame, rights) = (tables.arena[id].frame, tables.arena[id].role.access)
    var start = 0
    while let first = tables.memory.firstEntry(
      in: frame, from: start, unlike: SPTE.nonpresent.raw)
    {
      let group = first & ~7
      start = group + 8
      guard let words = guestEntries(from: ShadowPlace(id, group), slots, process, tables) else {
        return .failed
      }
      for index in first..<start {
        let old = SPTE(raw: tables.memory.entry(at: frame.address + UInt64(index) * 8))
        if old == .nonpresent { continue }
        let place = ShadowPlace(id, index)
        let new = translation(of: words[index - group], under: rights, state.rules)
        if old.isPresent && new == tables.translation(at: place) { continue }
        sync(place, old, new, &pending, tables, slots, process)
      }
    }
    return .synced
  }

  /// Brings one entry of a level-1 table up to date (KVM: `FNAME(sync_spte)`).
  func sync(
    _ place: ShadowPlace, _ state: borrowing ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> SyncOutcome {
    let row = tables.arena[place.page]
    let old = tables.entry(at: place)
    guard old != .nonpresent else { return .synced }
    guard
      let word = guestEntry(
        at: guestAddress(of: place, row), short: row.role.hasShortEntries, in: row.role.space,
        slots, process)
    else { return .failed }
    let new = translation(of: word, under: row.role.access, state.rules)
    sync(place, old, new, &pending, tables, slots, process)
    return .synced
  }

  /// Makes an entry that is not empty follow what the guest's translates now.
  private func sync(
    _ place: ShadowPlace, _ old: SPTE, _ new: ShadowedTranslation?, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    guard let new else {
      let owed = drop(place, tables, slots, process.host)
      if Mutation.deferredFlushForgotten.isActive { return owed.settle() }
      pending.flush.add(owed)
      return
    }
    if tables.encoding.isMMIO(old) {
      let space = tables.arena[place.page].role.space
      return syncDevice(place, old, new, space, tables, slots, process.host)
    }
    let known = tables.translation(at: place)
    if known == new { return }
    let isMore = known.frame == new.frame && known.access.isSuperset(of: new.access)
    if isMore && Mutation.syncKeepsMoreRights.isActive { return }
    if known.frame == new.frame || Mutation.syncKeepsOldFrame.isActive {
      remake(place, old, new, &pending, tables, slots, process)
    } else {
      pending.flush.add(drop(place, tables, slots, process.host))
    }
  }

  /// A device entry keeps its frame, or goes; no processor holds a translation of it (KVM:
  /// `sync_mmio_spte`).
  private func syncDevice(
    _ place: ShadowPlace, _ old: SPTE, _ new: ShadowedTranslation, _ space: AddressSpace,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    let isSame =
      tables.encoding.mmioFrame(of: old) == new.frame || Mutation.syncKeepsDevice.isActive
    let entry =
      isSame
      ? tables.encoding.mmio(new.frame, new.access, generation: slots.generation(of: space).raw)
      : .nonpresent
    tables.change(place, to: entry, nil, rows: nil, nil, host).settle()
  }

  /// Makes a leaf anew with other rights, for the same page.
  private func remake(
    _ place: ShadowPlace, _ old: SPTE, _ new: ShadowedTranslation, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    let space = tables.arena[place.page].role.space
    guard slots.slot(containing: new.frame, in: space) != nil else {
      pending.flush.add(drop(place, tables, slots, process.host))
      return
    }
    let backing =
      Mutation.syncEncryptsDevice.isActive ? .memory : tables.encoding.backing(of: old)
    let request = LeafRequest(
      frame: tables.encoding.frame(of: old), level: .page4K, rights: new.access,
      host: tables.encoding.isHostWritable(old) ? .writable : .readOnly, cause: .prefetch,
      accessedDirty: .enabled, backing: backing)
    let entry = leaf(
      request, new.frame, in: space, old, for: .synchronization, tables, slots, process.host
    ).entry
    pending.flush.add(
      tables.change(place, to: entry, new, rows: nil, nil, process.host))
  }

  /// A leaf that respects what tables of the guest's lie in the page (KVM: `make_spte`).
  func leaf(
    _ wanted: LeafRequest, _ frame: GuestFrame, in space: AddressSpace, _ old: SPTE,
    for use: EntryUse, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) -> (entry: SPTE, isProtected: Bool) {
    var request = wanted
    var isProtected = false
    let keepsWriting = old.isPresentLeaf(at: request.level) && old.isWritable
    if request.rights.contains(.write) && request.host == .writable && !keepsWriting
      && !mayWrite(frame, in: space, for: use, tables, slots, host)
    {
      request.rights.remove(.write)
      isProtected = true
    }
    return (tables.encoding.leaf(request, replacing: old), isProtected)
  }

  // MARK: Trees

  /// Brings every table out of sync below a page up to date, and protects it again (KVM:
  /// `mmu_sync_children`).
  func syncChildren(
    of id: ShadowPageID, _ state: borrowing ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    while tables.shadow[id].unsyncChildren > 0 {
      var batch = UnsyncBatch()
      batch.collect(under: id, tables, process.host)
      // No processor may write to the guest's tables while they are read: they are protected, and
      // every processor has forgotten that they were not.
      var owed = PendingFlush()
      for position in 0..<batch.count where !Mutation.syncWithoutProtection.isActive {
        let row = tables.arena[batch[position]]
        owed.add(writeProtect(row.guestFrame, in: row.role.space, tables, slots, process.host))
      }
      if Mutation.syncProtectsWithoutFlush.isActive {
        owed.settle()
      } else {
        owed.pay(tables.flusher)
      }
      for position in 0..<batch.count where tables.shadow[batch[position]].isUnsync {
        tables.clearUnsync(batch[position], process.host)
        _ = sync(batch[position], state, &pending, tables, slots, process)
      }
    }
  }
}

/// Some of the tables that are out of sync below a page (KVM: `kvm_mmu_pages`).
struct UnsyncBatch {
  private var pages: InlineArray<16, ShadowPageID> = .init(repeating: .none)
  private(set) var count = 0

  subscript(position: Int) -> ShadowPageID { pages[position] }

  /// Adds tables from the left until it is full; the recursion is as deep as a tree.
  mutating func collect(
    under id: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    var index = tables.shadow[id].firstUnsync(from: 0)
    while let found = index, count < 16 {
      guard let child = tables.child(at: ShadowPlace(id, found), host) else {
        preconditionFailure("an entry that is marked leads to a table")
      }
      if tables.shadow[child].isUnsync {
        pages[count] = child
        count += 1
      } else {
        collect(under: child, tables, host)
      }
      index = tables.shadow[id].firstUnsync(from: found + 1)
    }
  }
}
