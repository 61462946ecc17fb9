public import HostMemory
import MachineEvents
public import PagingUnits

/// The entries of sub-page-permission tables: words of another format, which translate nothing and
/// so have no part in what the entry door counts.
///
/// All of it happens under the writer side of the MMU lock; processors walk the tables meanwhile,
/// and see each word before or after its change.
extension PageTables {
  /// Takes a table of sub-page permissions from a cache, with no entry; it is not linked yet.
  public func makeSubpageTable(
    from cache: inout TableCache, _ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8
  ) -> ShadowPageID {
    let id = makeTable(from: &cache, frame, role, generation: generation)
    // A stocked table holds empty translations, whose bit 63 is reserved here.
    memory.fillFrame(arena[id].frame, with: SubpageEntry.empty.raw)
    return id
  }

  /// The entry of `frame` in a table of sub-page permissions.
  public func subpageEntry(_ table: HostFrame, _ level: Level, of frame: GuestFrame) -> SubpageEntry
  {
    SubpageEntry(raw: memory.entry(at: Self.subpagePlace(table, level, frame)))
  }

  /// Changes the entry of `frame` in a table of sub-page permissions.
  public func setSubpageEntry(
    _ entry: SubpageEntry, in table: HostFrame, _ level: Level, of frame: GuestFrame
  ) {
    interleaver.reach(.beforeEntryReplacement, frame.number)
    memory.setEntry(entry.raw, at: Self.subpagePlace(table, level, frame))
  }

  /// Retires a tree of sub-page permissions that no processor will walk again.
  ///
  /// The recursion is four levels deep.
  public func retireSubpages(_ id: ShadowPageID, _ host: borrowing HostMemory) {
    let row = arena[id]
    if let below = row.role.level.below {
      for index in 0..<512 where row.role.level > .page4K {
        let place = row.frame.address + UInt64(index) * 8
        let entry = SubpageEntry(raw: memory.entry(at: place))
        guard entry.hasTable else { continue }
        let child = page(of: entry.frame, host)
        precondition(arena[child].role.level == below, "tables of permissions go down by levels")
        retireSubpages(child, host)
      }
    }
    retire(id)
  }

  private static func subpagePlace(
    _ table: HostFrame, _ level: Level, _ frame: GuestFrame
  ) -> HostPhysical {
    table.address + UInt64(frame.index(at: level)) * 8
  }
}
