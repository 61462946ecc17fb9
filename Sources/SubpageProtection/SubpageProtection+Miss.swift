public import GuestMemory
public import HostMemory
import Mutations
public import PageTables
public import PagingUnits

/// What came of a miss.
public enum SubpageFill: Hashable, Sendable {
  /// The permissions are there: the write is tried again.
  case filled
  /// The root is on its way out: the processor loads another first.
  case obsolete
}

/// Filling the tables when a processor misses something in them (KVM's posted series:
/// `handle_spp`, `kvm_spp_setup_structure`).
extension SubpageProtection {
  /// Builds what is missing on the way to a frame and writes the permissions of all 512 pages of
  /// its 2 MiB.
  ///
  /// All 512, because an entry of the lowest level cannot say that it is not there: once the table
  /// over them is valid, an empty one refuses every write. Nothing is flushed: what was not valid
  /// is in no cache.
  ///
  /// * `cache`: topped up.
  public func fill(
    _ frame: GuestFrame, in root: ShadowPageID, _ cache: inout TableCache,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> SubpageFill {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    let row = tables.arena[root]
    if row.role.isInvalid { return .obsolete }
    var table = row.frame
    var role = row.role
    while role.level > .page4K {
      let entry = tables.subpageEntry(table, role.level, of: frame)
      let isLowest = role.level == .page2M
      let below: HostFrame
      if entry.hasTable {
        below = entry.frame
      } else {
        below = makeTable(role.child(), frame, row.generation, &cache, tables)
      }
      if isLowest {
        write(frame, to: below, role.space, tables, slots)
      }
      if !entry.isValid {
        tables.setSubpageEntry(SubpageEntry(table: below), in: table, role.level, of: frame)
        let id = tables.page(of: below, host)
        tables.arena.setParentEntry(
          table.address + UInt64(frame.index(at: role.level)) * 8, of: id)
      }
      table = below
      role = role.child()
    }
    return .filled
  }

  private func makeTable(
    _ role: ShadowPageRole, _ frame: GuestFrame, _ generation: UInt8, _ cache: inout TableCache,
    _ tables: borrowing PageTables
  ) -> HostFrame {
    // What an entry one level up covers is where the table begins.
    let first = frame.aligned(to: role.level.above ?? role.level)
    let id = tables.makeSubpageTable(from: &cache, first, role, generation: generation)
    tables.arena.goLive(id)
    return tables.arena[id].frame
  }

  /// Writes the permissions of the 512 pages around a frame.
  private func write(
    _ frame: GuestFrame, to table: HostFrame, _ space: AddressSpace,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory
  ) {
    let first = frame.aligned(to: .page2M)
    let frames = first..<(first + Level.page2M.frameCount)
    let isNarrow = isOn(.fillsOnePage) || Mutation.missFillsOnePage.isActive
    var next = first
    func open(upTo end: GuestFrame) {
      while next < end {
        if !isNarrow { set(.all, next, table, tables) }
        next = next + 1
      }
    }
    var parts = slots.slots(holding: frames, in: space)
    while let part = slots.next(&parts) {
      open(upTo: part.frames.lowerBound)
      while next < part.frames.upperBound {
        if !isNarrow || next == frame {
          set(tables.subpages[part.slot.mapRow, next], next, table, tables)
        }
        next = next + 1
      }
    }
    open(upTo: frames.upperBound)
  }

  private func set(
    _ access: SubpageAccess, _ frame: GuestFrame, _ table: HostFrame,
    _ tables: borrowing PageTables
  ) {
    let entry = SubpageEntry(access)
    guard tables.subpageEntry(table, .page4K, of: frame) != entry else { return }
    tables.setSubpageEntry(entry, in: table, .page4K, of: frame)
  }
}
