import GuestMemory
import HostMemory
import Mutations
import PageTables
import PagingUnits
import Synchronization

/// Frames of the guest: which leaves map them, and who may write to them.
extension ShadowMMU {
  /// The row of the reverse map of the slot that holds a frame.
  func row(
    of frame: GuestFrame, in space: AddressSpace, _ slots: borrowing GuestMemory
  ) -> MapRow? {
    slots.slot(containing: frame, in: space).map {
      MapRow(number: $0.metadata.row, base: $0.baseFrame)
    }
  }

  /// Empties an entry, whatever it is (KVM: `drop_spte`, `drop_parent_pte`).
  func drop(
    _ place: ShadowPlace, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    let old = tables.entry(at: place)
    guard old != .nonpresent else { return PendingFlush() }
    let role = tables.arena[place.page].role
    var row: MapRow?
    if old.isPresentLeaf(at: role.level) {
      row = self.row(of: tables.translation(at: place).frame, in: role.space, slots)
    }
    return tables.change(place, to: .nonpresent, nil, rows: row, nil, host)
  }

  /// Takes the right to write to a frame from every leaf, of any size, for good (KVM:
  /// `kvm_mmu_slot_gfn_write_protect`).
  func writeProtect(
    _ frame: GuestFrame, in space: AddressSpace, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    guard let row = row(of: frame, in: space, slots) else { return owed }
    for depth in 1...(Mutation.largeLeafLeftWritable.isActive ? 1 : 3) {
      var walk = tables.maps.lists.walk(tables.maps.leaves(row, frame, Level(depth)))
      while let address = tables.maps.lists.next(&walk) {
        let place = tables.place(at: address, host)
        let old = tables.entry(at: place)
        guard old.isWritable || tables.encoding.isMMUWritable(old) else { continue }
        owed.add(
          tables.change(
            place, to: tables.encoding.writeProtected(old), nil, rows: nil, nil, host))
      }
    }
    return owed
  }

  /// Whether writes to a frame come to the MMU, because a table of an upper level lies in it,
  /// whichever address space's memslots it is shadowed by (KVM: `kvm_gfn_is_write_tracked`).
  func isTracked(
    _ frame: GuestFrame, seenIn own: AddressSpace, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory
  ) -> Bool {
    if isTrackedAlone(frame, in: own, tables, slots) { return true }
    if Mutation.writeTrackOneAddressSpace.isActive { return false }
    let other: AddressSpace = own == .normal ? .systemManagement : .normal
    return isTrackedAlone(frame, in: other, tables, slots)
  }

  private func isTrackedAlone(
    _ frame: GuestFrame, in space: AddressSpace, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory
  ) -> Bool {
    guard let row = row(of: frame, in: space, slots) else { return false }
    return tables.maps.trackCount(row, frame) > 0
  }

  /// A table of the guest's is shadowed from now on: writes to it have to be seen, and no large
  /// page may hold it (KVM: `account_shadowed`).
  func account(
    _ id: ShadowPageID, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    let row = tables.arena[id]
    indirectPages.add(1, ordering: .sequentiallyConsistent)
    guard let slot = slots.slot(containing: row.guestFrame, in: row.role.space) else {
      preconditionFailure("a shadowed table lies in a memslot")
    }
    slots.refuseHugePages(in: slot, around: row.guestFrame)
    if row.role.level > .page4K && !Mutation.tableNotTracked.isActive {
      tables.maps.beginTracking(
        MapRow(number: slot.metadata.row, base: slot.baseFrame), row.guestFrame)
    }
    if Mutation.shadowedTableLeftWritable.isActive { return }
    let owed = writeProtect(row.guestFrame, in: row.role.space, tables, slots, host)
    if Mutation.writeProtectionWithoutFlush.isActive { return owed.settle() }
    owed.pay(tables.flusher)
  }

  /// A table of the guest's is shadowed no longer (KVM: `unaccount_shadowed`).
  func unaccount(
    _ id: ShadowPageID, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory
  ) {
    let row = tables.arena[id]
    indirectPages.subtract(1, ordering: .sequentiallyConsistent)
    guard let slot = slots.slot(containing: row.guestFrame, in: row.role.space) else {
      preconditionFailure("a slot outlives the shadows of its tables")
    }
    slots.allowHugePages(in: slot, around: row.guestFrame)
    if Mutation.tableNotTracked.isActive || Mutation.trackingNeverEnds.isActive { return }
    if row.role.level > .page4K {
      let map = MapRow(number: slot.metadata.row, base: slot.baseFrame)
      tables.maps.endTracking(map, row.guestFrame)
      while Mutation.writeProtectionLostOnZap.isActive
        && tables.maps.trackCount(map, row.guestFrame) > 0
      {
        tables.maps.endTracking(map, row.guestFrame)
      }
    }
  }

  /// Why an access is made to an entry.
  enum EntryUse {
    /// A guest's access needs it.
    case access
    /// The MMU guesses.
    case prefetch
    /// The MMU brings an entry up to date, maybe among tables that wait for the same.
    case synchronization
  }

  /// Whether a leaf may let a processor write to a frame: level-1 tables that lie in it go out of
  /// sync; anything above forbids (KVM: `mmu_try_to_unsync_pages`).
  func mayWrite(
    _ frame: GuestFrame, in space: AddressSpace, for use: EntryUse, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> Bool {
    if isTracked(frame, seenIn: space, tables, slots) { return false }
    var id = tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      let row = tables.arena[id]
      if tables.hasGuestEntries(id) && row.generation == generation {
        // What is out of sync now may be in sync a moment later.
        if use == .synchronization && !Mutation.syncMakesSiblingWritable.isActive { return false }
        if !tables.shadow[id].isUnsync {
          guard use == .access || Mutation.prefetchTakesTablesOutOfSync.isActive else {
            return false
          }
          tables.setUnsync(id, host)
        }
      }
      if Mutation.onlyFirstShadowGoesUnsync.isActive { break }
      id = tables.arena.nextTable(of: frame, after: id)
    }
    return true
  }
}
