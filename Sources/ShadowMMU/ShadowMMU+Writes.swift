public import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits
import Synchronization

/// What follows from a write to guest memory that the hypervisor performed (KVM:
/// `kvm_mmu_track_write`).
extension ShadowMMU {
  /// How often a table of upper level is written, without a walk through its shadow in between,
  /// before it is taken for a table no more (KVM: `detect_write_flooding`).
  static var floodLimit: UInt8 { Mutation.floodLimitOffByOne.isActive ? 4 : 3 }

  /// The hypervisor has written `count` bytes, all in one page: entries that shadow what was
  /// there are dropped.
  ///
  /// The new entries of the guest's are not shadowed at once: the next access does that.
  public func wrote(
    _ address: GuestPhysical, count: Int, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    precondition(
      count > 0 && Int(address.pageOffset) + count <= 4096, "a write lies in one page")
    // Ordered after the bytes, and before a new shadow page reads them.
    guard indirectPages.load(ordering: .sequentiallyConsistent) > 0 else { return }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    tables.counters.add(to: .mmu_pte_write)
    var write = GuestWrite(offset: Int(address.pageOffset), count: count)
    if Mutation.halfEntryStoreIgnored.isActive && count == 4 { return }
    // Half an entry of PAE paging is written: all of it counts. KVM takes every 4 bytes for such a
    // half, parts of two entries among them, and drops the first entry alone.
    if let role = state.role, role.isPaged, !role.base.hasShortEntries, count == 4,
      write.offset & 7 <= 4
    {
      write = GuestWrite(offset: write.offset & ~7, count: 8)
    }
    let entry = written(write, address, state, slots, process)
    var pending = PendingZap()
    var id = tables.arena.nextTable(of: address.frame, after: .none)
    while id != .none {
      let next = tables.arena.nextTable(of: address.frame, after: id)
      if tables.hasGuestEntries(id) {
        take(write, entry, to: id, &pending, tables, slots, process.host)
        if Mutation.storeReachesOneShadow.isActive { break }
      }
      id = next
    }
    pending.commit(tables)
  }

  private func take(
    _ write: GuestWrite, _ entry: UInt64, to id: ShadowPageID, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    let role = tables.arena[id].role
    if write.isMisaligned(forEntriesOf: role.hasShortEntries ? 4 : 8) || isFlooded(id, tables) {
      prepareZap(id, &pending, tables, slots, host)
      tables.counters.add(to: .mmu_flooded)
      return
    }
    guard let entries = write.entries(in: role) else { return }
    for index in entries {
      let place = ShadowPlace(id, index)
      if entry != 0 && role.level > .page4K { tables.counters.add(to: .mmu_pde_zapped) }
      let owed = drop(place, tables, slots, host)
      if Mutation.storeWithoutFlush.isActive {
        owed.settle()
      } else {
        pending.flush.add(owed)
      }
    }
  }

  private func isFlooded(_ id: ShadowPageID, _ tables: borrowing PageTables) -> Bool {
    guard tables.arena[id].role.level > .page4K else { return false }
    tables.shadow[id].writeCount += 1
    return tables.shadow[id].writeCount >= Self.floodLimit
  }

  /// The guest's entry as it is now; 0 when it cannot be read or more was written than one.
  private func written(
    _ write: GuestWrite, _ address: GuestPhysical, _ state: borrowing ShadowState,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) -> UInt64 {
    guard write.count == 4 || write.count == 8, write.offset % write.count == 0 else { return 0 }
    let place = GuestPhysical(address.pageStart.raw + UInt64(write.offset))
    return guestEntry(
      at: place, short: write.count == 4, in: state.rootRole.space, slots, process) ?? 0
  }

  /// A walk has set the accessed or dirty bit of a 4-byte entry of the guest's: what shadows the
  /// same bytes as half of an 8-byte entry is dropped.
  ///
  /// For shadows of 4-byte entries nothing has changed that counts, nor where the lower half of an
  /// 8-byte entry was marked: these are its own accessed and dirty bits. In the upper half they are
  /// bits 37 and 38 of its address. (KVM tells nobody, and translates by the old address until the
  /// guest stores there.)
  ///
  /// * `address`: the entry's.
  public func marked(
    _ address: GuestPhysical, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    guard address.raw & 7 == 4, !Mutation.halfEntryMarkNotTold.isActive,
      indirectPages.load(ordering: .sequentiallyConsistent) > 0
    else { return }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    var id = tables.arena.nextTable(of: address.frame, after: .none)
    while id != .none {
      if tables.hasGuestEntries(id) && !tables.arena[id].role.hasShortEntries {
        let place = ShadowPlace(id, Int(address.pageOffset) / 8)
        pending.flush.add(drop(place, tables, slots, host))
      }
      id = tables.arena.nextTable(of: address.frame, after: id)
    }
    pending.commit(tables)
  }

  /// Zaps the shadows of a frame's tables that would be trusted to follow its bytes, which have
  /// changed without a write of the guest's: the VMM wrote them, or the host gave them up.
  ///
  /// Those out of sync are trusted by nobody who has had them brought up to date, and stay if they
  /// are spared.
  public func changedUnseen(
    _ frame: GuestFrame, sparing spared: UnseenChange, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    guard indirectPages.load(ordering: .sequentiallyConsistent) > 0 else { return }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    var id = tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      if tables.hasGuestEntries(id) && !(spared == .outOfSync && tables.shadow[id].isUnsync) {
        prepareZap(id, &pending, tables, slots, host)
        id = tables.arena.nextTable(of: frame, after: .none)
      } else {
        id = tables.arena.nextTable(of: frame, after: id)
      }
    }
    pending.commit(tables)
  }

  /// Zaps every shadow of the table in a frame, so that the guest may write to it freely; whether
  /// there was any (KVM: `kvm_mmu_unprotect_gfn_and_retry`).
  public func unprotect(
    _ frame: GuestFrame, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) -> Bool {
    guard indirectPages.load(ordering: .sequentiallyConsistent) > 0 else { return false }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    var wasShadowed = false
    var id = tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      if tables.hasGuestEntries(id) {
        prepareZap(id, &pending, tables, slots, host)
        wasShadowed = true
        id = tables.arena.nextTable(of: frame, after: .none)
      } else {
        id = tables.arena.nextTable(of: frame, after: id)
      }
    }
    pending.commit(tables)
    return wasShadowed
  }
}

/// What stays when the bytes of a guest's table have changed unseen.
public enum UnseenChange: Hashable, Sendable {
  /// Shadows that are out of sync, which may serve old translations as a TLB may.
  case outOfSync
  /// None.
  case nothing
}

/// Bytes of one page that were written.
struct GuestWrite: Hashable, Sendable {
  /// Where in the page they start.
  var offset: Int
  /// How many they are.
  var count: Int

  /// Whether they are not what a guest writes to a table: across entries, or less than 4 bytes
  /// (KVM: `detect_write_misaligned`).
  ///
  /// One byte at the start of an entry is let pass: some guests clear the present bit so.
  func isMisaligned(forEntriesOf size: Int) -> Bool {
    if offset % size == 0 && count == 1 { return false }
    if Mutation.misalignedStoreCoversOneEntry.isActive { return false }
    return offset / size != (offset + count - 1) / size || count < 4
  }

  /// The entries of a shadow page that shadow the bytes; `nil` when they lie in another quadrant
  /// (KVM: `get_written_sptes`).
  func entries(in role: ShadowPageRole) -> Range<Int>? {
    guard role.hasShortEntries else { return offset / 8..<offset / 8 + 1 }
    let guest = offset / 4
    if role.depth == 1 {
      if Mutation.storeReachesFirstQuadrant.isActive && role.quadrant > 0 { return nil }
      return guest >> 9 == role.quadrant ? guest & 511..<(guest & 511) + 1 : nil
    }
    let first = (guest & 255) * 2
    if Mutation.secondHalfOfEntryKept.isActive && guest >> 8 == role.quadrant {
      return first..<first + 1
    }
    return guest >> 8 == role.quadrant ? first..<first + 2 : nil
  }
}
