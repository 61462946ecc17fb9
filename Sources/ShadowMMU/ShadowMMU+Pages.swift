import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits

/// Shadow pages that are looked for, made and linked.
extension ShadowMMU {
  /// The page of a frame and a role: found, brought up to date, or made (KVM:
  /// `kvm_mmu_get_shadow_page`).
  func page(
    _ frame: GuestFrame, _ role: ShadowPageRole, _ state: inout ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowPageID {
    precondition(
      role.quadrant == 0 || role.hasShortEntries, "only tables of 4-byte entries have parts")
    if let found = find(frame, role, state, &pending, tables, slots, process) {
      tables.tap.record(.getPage(tables.record(of: found), .existing))
      return found
    }
    tables.counters.add(to: .mmu_cache_miss)
    let id = tables.makeShadow(
      from: &state.cache, frame, role, generation: generation, .listed)
    if tables.hasGuestEntries(id) { account(id, tables, slots, process.host) }
    return id
  }

  private func find(
    _ frame: GuestFrame, _ role: ShadowPageRole, _ state: borrowing ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowPageID? {
    let (_, collisions) = tables.arena.find(frame, role, generation: generation)
    tables.counters.raise(.max_mmu_page_hash_collisions, to: Int64(collisions))
    var id = tables.arena.nextTable(of: frame, after: .none)
    while id != .none {
      let next = tables.arena.nextTable(of: frame, after: id)
      let row = tables.arena[id]
      if row.generation == generation {
        if isSame(row.role, role) {
          let isBehind = !role.isDirect && tables.shadow[id].isUnsync
          if isBehind && !Mutation.unsyncPageUsedAsItIs.isActive {
            // It stays out of sync: whoever uses it later has it brought up to date again.
            guard sync(id, state, &pending, tables, slots, process) == .synced else { return nil }
          }
          tables.shadow[id].writeCount = 0
          return id
        }
        if role.level > .page4K && tables.shadow[id].isUnsync
          && !Mutation.promotedWhileUnsync.isActive
        {
          // The guest made a table of upper level out of a page table: its old shadow would let
          // writes to it go unseen.
          prepareZap(id, &pending, tables, slots, process.host)
        }
      }
      id = next
    }
    return nil
  }

  /// Whether a page of one role serves where another is asked for.
  private func isSame(_ found: ShadowPageRole, _ wanted: ShadowPageRole) -> Bool {
    var found = found
    if Mutation.levelNotInKey.isActive && found.depth < wanted.depth { found.depth = wanted.depth }
    if Mutation.quadrantNotInKey.isActive { found.quadrant = wanted.quadrant }
    return found == wanted
  }

  /// Lets an entry point to a table (KVM: `link_shadow_page`).
  func link(
    _ place: ShadowPlace, to child: ShadowPageID, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    let old = tables.entry(at: place)
    if old.isPresent {
      // A large page goes before the table that takes its place comes.
      let owed = drop(place, tables, slots, host)
      if Mutation.largeLeafSplitWithoutFlush.isActive {
        owed.settle()
      } else {
        owed.pay(tables.flusher)
      }
    }
    let row = tables.arena[place.page]
    let frame = tables.arena[child].frame
    let isDirectory = tables.shadow[place.page].isLocal && row.role.depth == 3
    let entry =
      isDirectory && isRootLevel3(place.page, tables)
      ? tables.encoding.directoryPointer(frame)
      : tables.encoding.table(frame, accessedDirty: .enabled)
    pending.flush.add(tables.change(place, to: entry, nil, rows: nil, nil, host))
  }

  /// Whether a local page is the root itself, so that PAE paging walks it.
  private func isRootLevel3(_ id: ShadowPageID, _ tables: borrowing PageTables) -> Bool {
    tables.shadow[id].parents.isEmpty
  }

  /// Whether a page may not be used any more (KVM: `is_obsolete_sp`).
  func isObsolete(_ id: ShadowPageID, _ tables: borrowing PageTables) -> Bool {
    tables.arena[id].generation != generation
      || tables.arena[id].role.isInvalid && !Mutation.invalidRootStaysInUse.isActive
  }
}
