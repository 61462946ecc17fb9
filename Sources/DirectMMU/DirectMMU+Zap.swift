public import HostMemory
import Mutations
public import PageTables
public import PagingUnits

/// What the host and the VMM make of mappings: gone, or looked at for their age.
///
/// The caller holds the writer side of the MMU lock in all of them, and pays what is owed before
/// it lets go.
extension DirectMMU {
  /// Which roots a change concerns.
  public enum RootChoice: Hashable, Sendable {
    /// Only roots that processors may still load.
    case valid
    /// Also roots that were invalidated and not emptied yet: a processor may still be on one.
    case all
  }

  /// Takes away every leaf that maps one of `frames`, in the chosen roots of an address space;
  /// tables stay (KVM: `kvm_tdp_mmu_zap_leafs`, `kvm_tdp_mmu_unmap_gfn_range`).
  public func zapLeaves(
    of frames: Range<GuestFrame>, in space: AddressSpace, _ roots: RootChoice,
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    guard let frames = bounded(frames) else { return owed }
    if Mutation.rootIterationFiltersAddressSpace.isActive && space != .normal { return owed }
    let roots: RootChoice = Mutation.notifierSkipsInvalidRoots.isActive ? .valid : roots
    var root = nextRoot(after: .none, space, roots, tables)
    while let row = root {
      var leaves = LeafWalk(tables.arena[row], frames, tables)
      while leaves.next(tables) {
        owed.add(
          tables.replace(leaves.path.entry, with: .nonpresent, at: leaves.path.place, host))
      }
      root = nextRoot(after: row, space, roots, tables)
    }
    return owed
  }

  /// Clears the accessed state of every leaf of a range (KVM: `kvm_tdp_mmu_age_gfn_range`).
  ///
  /// With accessed bits the flush may be settled unpaid: a processor that goes on using what it
  /// holds makes the page look a little older than it is, no more.
  public func age(
    _ frames: Range<GuestFrame>, in space: AddressSpace, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    guard let frames = bounded(frames) else { return owed }
    var root = nextRoot(after: .none, space, .valid, tables)
    while let row = root {
      var leaves = LeafWalk(tables.arena[row], frames, tables)
      while leaves.next(tables) {
        let old = leaves.path.entry
        guard tables.encoding.isAccessed(old) else { continue }
        let new = tables.encoding.withoutAccess(old)
        owed.add(tables.replace(old, with: new, at: leaves.path.place, host))
        if Mutation.ageingStopsAtFirstLeaf.isActive { return owed }
      }
      root = nextRoot(after: row, space, .valid, tables)
    }
    return owed
  }

  /// Whether any leaf of a range was accessed; changes nothing (KVM: `kvm_tdp_mmu_test_age_gfn`).
  public func isYoung(
    _ frames: Range<GuestFrame>, in space: AddressSpace, _ tables: borrowing PageTables
  ) -> Bool {
    guard let frames = bounded(frames) else { return false }
    var root = nextRoot(after: .none, space, .valid, tables)
    while let row = root {
      var leaves = LeafWalk(tables.arena[row], frames, tables)
      while leaves.next(tables) {
        if tables.encoding.isAccessed(leaves.path.entry) { return true }
      }
      root = nextRoot(after: row, space, .valid, tables)
    }
    return false
  }

  func nextRoot(
    after id: ShadowPageID, _ space: AddressSpace, _ choice: RootChoice,
    _ tables: borrowing PageTables
  ) -> ShadowPageID? {
    var id = tables.arena.nextActive(after: id)
    while id != .none {
      let role = tables.arena[id].role
      let isTree = role.isDirect && !role.isSubpageTable
      if isTree && role.space == space && (choice == .all || !role.isInvalid) { return id }
      id = tables.arena.nextActive(after: id)
    }
    return nil
  }

  func bounded(_ frames: Range<GuestFrame>) -> Range<GuestFrame>? {
    let end = min(frames.upperBound, configuration.frameLimit)
    return frames.lowerBound < end ? frames.lowerBound..<end : nil
  }
}
