public import GuestMemory
import Mutations
public import PageTables
public import PagingUnits

/// Getting and setting what of each page may be written (KVM's posted series:
/// `KVM_SUBPAGES_GET_ACCESS`, `KVM_SUBPAGES_SET_ACCESS`).
extension SubpageProtection {
  /// Refuses what no call may ask, whatever the memslots are.
  public func check(_ count: Int, flags: UInt32) throws(SubpageError) {
    guard isEnabled else { throw .notEnabled }
    guard flags == 0 else { throw .flags(flags) }
    let limit = Mutation.subpageLimitOffByOne.isActive ? Self.pageLimit + 1 : Self.pageLimit
    guard count <= limit else { throw .tooManyPages(count) }
  }

  /// Why a frame can have no permissions; `nil` if it can.
  ///
  /// The caller holds the memslot lock.
  public func refusal(
    of frame: GuestFrame, _ slot: Memslot?, _ tables: borrowing PageTables
  ) -> SubpageError? {
    guard let slot, !tables.subpages.isWithheld(slot.mapRow) else { return .noMap(frame) }
    return frame < Self.frameLimit ? nil : .beyondTables(frame)
  }

  /// What of a frame may be written.
  ///
  /// The caller holds the memslot lock or either side of the MMU lock.
  public func access(
    to frame: GuestFrame, in slot: Memslot, _ tables: borrowing PageTables
  ) -> SubpageAccess {
    tables.subpages[slot.mapRow, frame]
  }

  /// Notes what of a frame may be written; huge pages stay away from protected ones.
  ///
  /// The slot has a map. The caller holds the memslot lock and the writer side of the MMU lock, has
  /// the tables' blocks of these frames set aside, has the leaves follow, and flushes before it
  /// lets go.
  public func setAccess(
    _ access: SubpageAccess, to frame: GuestFrame, in slot: Memslot,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory
  ) {
    let old = tables.subpages[slot.mapRow, frame]
    tables.subpages[slot.mapRow, frame] = access
    if old.isProtected == access.isProtected { return }
    if access.isProtected {
      if Mutation.hugePagesNotRefused.isActive { return }
      slots.refuseHugePages(in: slot, around: frame)
    } else {
      if Mutation.hugePagesStayRefused.isActive { return }
      slots.allowHugePages(in: slot, around: frame)
    }
  }

  /// Gives a slot its map, with every page open, unless it has one.
  ///
  /// The caller holds the memslot lock and the writer side of the MMU lock.
  public func makeMap(of slot: Memslot, _ tables: borrowing PageTables) {
    tables.subpages.make(slot.mapRow, frames: slot.frameCount)
  }

  /// Sets the tables of each 2 MiB with one of these frames aside, so that the next eligible write
  /// there misses and the permissions are written anew; what processors keep is owed a flush.
  ///
  /// The caller holds the writer side of the MMU lock.
  public func setAside(
    _ frames: Range<GuestFrame>, in space: AddressSpace, _ tables: borrowing PageTables
  ) -> PendingFlush {
    var owed = PendingFlush()
    guard !frames.isEmpty, !Mutation.subpageTableNotSetAside.isActive else { return owed }
    var root: ShadowPageID? = nextRoot(after: .none, space, tables)
    while let id = root {
      var frame = frames.lowerBound
      while frame < frames.upperBound {
        setAside(frame, under: tables.arena[id], tables)
        frame = frame.aligned(to: .page2M) + Level.page2M.frameCount
        // The series goes one frame too far each time, and so past blocks of which one is left.
        if isOn(.missesBlocks) { frame = frame + 1 }
      }
      root = nextRoot(after: id, space, tables)
    }
    var frame = frames.lowerBound.aligned(to: .page2M)
    while frame < frames.upperBound {
      owed.owe(frame, .page2M)
      frame = frame + Level.page2M.frameCount
    }
    return owed
  }

  private func setAside(
    _ frame: GuestFrame, under root: ShadowPage, _ tables: borrowing PageTables
  ) {
    var table = root.frame
    var level = root.role.level
    while level > .page2M, let below = level.below {
      let entry = tables.subpageEntry(table, level, of: frame)
      guard entry.isValid else { return }
      table = entry.frame
      level = below
    }
    let entry = tables.subpageEntry(table, level, of: frame)
    guard entry.isValid else { return }
    tables.setSubpageEntry(entry.invalidated, in: table, level, of: frame)
  }
}

extension Memslot {
  /// The row under which the tables keep what they have for the slot.
  public var mapRow: MapRow { MapRow(number: metadata.row, base: baseFrame) }
}
