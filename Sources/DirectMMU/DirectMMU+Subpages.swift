public import GuestMemory
public import HostMemory
import Mutations
public import PageTables
public import PagingUnits

/// Leaves of pages in which some sub-pages may not be written.
extension DirectMMU {
  /// The entry of a page: armed if the page is protected and the leaf is of 4 KiB, the only one in
  /// which the processor heeds the bit.
  func leaf(
    _ request: LeafRequest, replacing old: SPTE, of frame: GuestFrame, in slot: Memslot?,
    _ tables: borrowing PageTables
  ) -> SPTE {
    let entry = tables.encoding.leaf(request, replacing: old)
    guard tables.subpages.mapCount > 0, let slot, request.level == .page4K,
      tables.subpages[slot.mapRow, frame].isProtected
    else { return entry }
    return tables.encoding.arming(entry)
  }

  /// Lets the leaves of a slot's frames follow the slot's map: those of protected pages are armed,
  /// others disarmed, and larger ones that hold a protected page go (KVM's posted series: the walk
  /// of `kvm_spp_set_permission`).
  ///
  /// The caller holds the writer side of the MMU lock and pays what is owed before it lets go.
  public func followSubpages(
    _ frames: Range<GuestFrame>, in slot: Memslot, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    guard let frames = bounded(frames) else { return owed }
    var root = nextRoot(after: .none, slot.addressSpace, .all, tables)
    while let row = root {
      var leaves = LeafWalk(tables.arena[row], frames, tables)
      while leaves.next(tables) {
        let path = leaves.path
        let covered = path.frame..<(path.frame + path.level.frameCount)
        let isProtected = hasProtected(covered.clamped(to: frames), slot, tables)
        let new: SPTE
        if path.level > .page4K {
          if !isProtected || Mutation.hugePageKeptOverSubpages.isActive { continue }
          new = .nonpresent
        } else if isProtected {
          new = tables.encoding.arming(path.entry)
        } else if tables.encoding.isArmed(path.entry) || tables.encoding.isParked(path.entry) {
          new = tables.encoding.disarming(path.entry)
        } else {
          continue
        }
        owed.add(tables.replace(path.entry, with: new, at: path.place, host))
      }
      root = nextRoot(after: row, slot.addressSpace, .all, tables)
    }
    return owed
  }

  /// Lets the leaves follow as the posted series does: after a large page went, the walk goes to
  /// the next large page's frame and to the next page's permissions.
  public func followSubpagesOutOfStep(
    _ access: [SubpageAccess], from first: GuestFrame, in slot: Memslot,
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    var frame = first
    for one in access where slot.contains(frame) {
      var step: UInt64 = 1
      var root = nextRoot(after: .none, slot.addressSpace, .all, tables)
      while let row = root {
        let path = EntryPath(walking: row, to: frame, tables)
        if path.entry.isPresentLeaf(at: path.level) {
          var new = path.entry
          if path.level > .page4K {
            step = path.level.frameCount - frame.number % path.level.frameCount
            new = .nonpresent
          } else {
            new =
              one.isProtected
              ? tables.encoding.arming(path.entry) : tables.encoding.disarming(path.entry)
          }
          owed.add(tables.replace(path.entry, with: new, at: path.place, host))
        }
        root = nextRoot(after: row, slot.addressSpace, .all, tables)
      }
      frame = frame + step
    }
    return owed
  }

  private func hasProtected(
    _ frames: Range<GuestFrame>, _ slot: Memslot, _ tables: borrowing PageTables
  ) -> Bool {
    var frame = frames.lowerBound
    while frame < frames.upperBound {
      if tables.subpages[slot.mapRow, frame].isProtected { return true }
      frame = frame + 1
    }
    return false
  }
}

extension Memslot {
  /// The row under which rooms keep what they have for the slot.
  var mapRow: MapRow { MapRow(number: metadata.row, base: baseFrame) }
}
