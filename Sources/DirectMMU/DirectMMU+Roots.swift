public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits
import Synchronization

/// Roots: one tree of tables a role, shared by every processor of that role.
extension DirectMMU {
  /// The root of an address space, with a reference for the caller, who gives it back with
  /// `putRoot` (KVM: `kvm_tdp_mmu_alloc_root`).
  ///
  /// A new root has two references: the caller's, and the MMU's own, which goes when the root has
  /// been invalidated and emptied. The caller's cache is topped up. Whoever loads a root flushes
  /// its processor.
  public func root(
    of space: AddressSpace, _ tables: borrowing PageTables, _ cache: inout TableCache
  ) -> ShadowPageID {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    let walked: AddressSpace = Mutation.rootsSharedBetweenSpaces.isActive ? .normal : space
    let role = ShadowPageRole.directRoot(
      level: configuration.rootLevel, space: walked,
      accessedDirty: tables.encoding.hasAccessedDirty ? .enabled : .disabled)
    let (found, collisions) = tables.arena.find(
      GuestFrame(0), role, generation: generation)
    tables.counters.raise(.max_mmu_page_hash_collisions, to: Int64(collisions))
    if let found {
      tables.arena.addRootReferences(1, to: found)
      tables.tap.record(.getPage(tables.record(of: found), .existing))
      return found
    }
    tables.counters.add(to: .mmu_cache_miss)
    let id = tables.makeTable(from: &cache, GuestFrame(0), role, generation: generation)
    tables.arena.addRootReferences(2, to: id)
    tables.arena.enlist(id)
    return id
  }

  /// Gives a reference back; the last one retires the root (KVM: `kvm_tdp_mmu_put_root`).
  public func putRoot(_ id: ShadowPageID, _ tables: borrowing PageTables) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    put(id, tables)
  }

  private func put(_ id: ShadowPageID, _ tables: borrowing PageTables) {
    guard tables.arena.dropRootReference(of: id) == 0 else { return }
    precondition(tables.arena[id].role.isInvalid, "the MMU keeps its reference to a valid root")
    tables.arena.delist(id)
    tables.retire(id)
  }

  /// Whether a processor has to load another root before it goes on (KVM: `is_obsolete_sp`).
  public func isObsolete(_ root: ShadowPageID, _ tables: borrowing PageTables) -> Bool {
    tables.arena[root].role.isInvalid || tables.arena[root].generation != generation
  }

  /// Makes every table obsolete at once (KVM: the front half of `kvm_mmu_zap_all_fast`).
  ///
  /// Processors still walk the old tables until they have loaded new roots, so the caller asks
  /// every processor to do so, and empties the old roots with `zapInvalidatedRoots` afterwards.
  public func invalidateAllRoots(_ tables: borrowing PageTables) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    tables.tap.record(
      .zapAllFast(generation: generation, usedPages: UInt32(tables.arena.tableCount)))
    currentGeneration.store(generation ^ 1, ordering: .relaxed)
    var id = tables.arena.nextActive(after: .none)
    while id != .none {
      let next = tables.arena.nextActive(after: id)
      if !tables.arena[id].role.isInvalid { tables.arena.invalidateRoot(id) }
      id = next
    }
  }

  /// Empties the invalidated roots and drops the MMU's references to them (KVM:
  /// `kvm_tdp_mmu_zap_invalidated_roots`).
  ///
  /// No flush is owed: every processor loads a new root, and that flushes, before it could use
  /// what an old one gave.
  public func zapInvalidatedRoots(_ tables: borrowing PageTables, _ host: borrowing HostMemory) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    while let id = nextScheduled(tables) {
      empty(id, tables, host)
      tables.arena.finishZap(of: id)
      put(id, tables)
    }
  }

  private func nextScheduled(_ tables: borrowing PageTables) -> ShadowPageID? {
    var id = tables.arena.nextActive(after: .none)
    while id != .none {
      let row = tables.arena[id]
      if row.isScheduledToZap && !row.role.isSubpageTable { return id }
      id = tables.arena.nextActive(after: id)
    }
    return nil
  }

  /// Takes every entry out of an invalidated root, small pages first, so that no single step frees
  /// a whole tree (KVM: `tdp_mmu_zap_root`).
  private func empty(
    _ root: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    let row = tables.arena[root]
    for depth in 1...Int(row.role.level.depth) where depth != 4 || row.role.level == .level4 {
      if Mutation.zapAllBoundSkipsTopLevel.isActive && depth == row.role.level.depth { return }
      let level = Level(depth)
      var path = EntryPath(
        in: tables, root: row.frame, level: row.role.level, space: row.role.space,
        frame: GuestFrame(0), downTo: level)
      repeat {
        tables.interleaver.reach(.betweenEntries)
        if path.level == level && path.entry != .nonpresent {
          tables.replace(path.entry, with: .nonpresent, at: path.place, host).settle()
          path.reread()
        }
      } while path.advance()
    }
  }
}
