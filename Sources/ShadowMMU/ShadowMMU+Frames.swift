import GuestMemory
import HostMemory
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
    for depth in 1...3 {
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

  /// Whether writes to a frame come to the MMU, because a table of an upper level lies in it
  /// (KVM: `kvm_gfn_is_write_tracked`).
  func isTracked(
    _ frame: GuestFrame, _ slot: Memslot?, _ tables: borrowing PageTables
  ) -> Bool {
    guard let slot else { return false }
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
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
    if row.role.level > .page4K {
      tables.maps.beginTracking(
        MapRow(number: slot.metadata.row, base: slot.baseFrame), row.guestFrame)
    }
    writeProtect(row.guestFrame, in: row.role.space, tables, slots, host).pay(tables.flusher)
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
    if row.role.level > .page4K {
      tables.maps.endTracking(
        MapRow(number: slot.metadata.row, base: slot.baseFrame), row.guestFrame)
    }
  }

  /// Why an access is made to an entry.
  enum EntryUse {
    /// A guest's access needs it.
    case access
    /// The MMU guesses, or brings an entry up to date.
    case prefetch
  }

  /// Whether a leaf may let a processor write to a frame: level-1 tables that lie in it go out of
  /// sync; anything above forbids (KVM: `mmu_try_to_unsync_pages`).
  func mayWrite(
    _ frame: GuestFrame, _ slot: Memslot, for use: EntryUse, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> Bool {
    if isTracked(frame, slot, tables) { return false }
    var id = tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      let row = tables.arena[id]
      if tables.hasGuestEntries(id) && row.generation == generation
        && !tables.shadow[id].isUnsync
      {
        guard use == .access else { return false }
        tables.setUnsync(id, host)
      }
      id = tables.arena.nextTable(of: frame, after: id)
    }
    return true
  }
}
