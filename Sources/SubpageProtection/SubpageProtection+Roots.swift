public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits

/// The roots of the sub-page-permission tables: one an address space, shared by its processors,
/// made with a processor's root and given back with it (KVM's posted series, 2018: `sppt_root`
/// beside `root_hpa`).
extension SubpageProtection {
  /// The root of an address space, with a reference for the caller, who gives it back with
  /// `putRoot`.
  ///
  /// A new root has two references: the caller's, and the MMU's own, which goes when the root has
  /// been invalidated. The caller's cache is topped up.
  ///
  /// * `generation`: that of the direct tables, with which the root becomes obsolete; asked under
  ///   the MMU lock, so that none is made just when it has passed.
  public func root(
    of space: AddressSpace, generation: @autoclosure () -> UInt8, _ tables: borrowing PageTables,
    _ cache: inout TableCache
  ) -> ShadowPageID {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    let role = ShadowPageRole.subpageRoot(of: space)
    let generation = generation()
    let (found, _) = tables.arena.find(GuestFrame(0), role, generation: generation)
    if let found {
      if !Mutation.subpageRootNotReferenced.isActive {
        tables.arena.addRootReferences(1, to: found)
      }
      tables.tap.record(.getPage(tables.record(of: found), .existing))
      return found
    }
    let id = tables.makeSubpageTable(from: &cache, GuestFrame(0), role, generation: generation)
    tables.arena.addRootReferences(2, to: id)
    tables.arena.enlist(id)
    return id
  }

  /// Gives a reference back; the last one retires the root and every table under it.
  public func putRoot(
    _ id: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    if isOn(.rootGoesWithAnyProcessor), !tables.arena[id].role.isInvalid {
      empty(id, tables, host)
      tables.arena.invalidateRoot(id)
      tables.arena.finishZap(of: id)
      put(id, tables, host)
    }
    put(id, tables, host)
  }

  private func put(
    _ id: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    guard tables.arena.dropRootReference(of: id) == 0 else { return }
    precondition(tables.arena[id].role.isInvalid, "the MMU keeps its reference to a valid root")
    tables.arena.delist(id)
    tables.retireSubpages(id, host)
  }

  /// Takes every table out of a root that processors still walk, as one series did.
  private func empty(
    _ root: ShadowPageID, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    let row = tables.arena[root]
    for index in 0..<512 {
      let first = GuestFrame(UInt64(index) * row.role.level.frameCount)
      let entry = tables.subpageEntry(row.frame, row.role.level, of: first)
      guard entry.hasTable else { continue }
      tables.setSubpageEntry(.empty, in: row.frame, row.role.level, of: first)
      tables.retireSubpages(tables.page(of: entry.frame, host), host)
    }
    tables.flusher.flush(GuestFrame(0)..<Self.frameLimit)
  }

  /// Drops the MMU's references to the roots that were invalidated with all others.
  public func dropInvalidatedRoots(
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var id = tables.arena.nextActive(after: .none)
    while id != .none {
      let next = tables.arena.nextActive(after: id)
      let row = tables.arena[id]
      if row.role.isSubpageTable && row.isScheduledToZap {
        tables.arena.finishZap(of: id)
        put(id, tables, host)
      }
      id = next
    }
  }

  /// The root of an address space that processors may walk, behind `id`; `.none` for the first.
  func nextRoot(
    after id: ShadowPageID, _ space: AddressSpace, _ tables: borrowing PageTables
  ) -> ShadowPageID? {
    var id = tables.arena.nextActive(after: id)
    while id != .none {
      let role = tables.arena[id].role
      if role.isSubpageTable && role.space == space { return id }
      id = tables.arena.nextActive(after: id)
    }
    return nil
  }
}
