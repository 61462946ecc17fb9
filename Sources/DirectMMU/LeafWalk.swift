import MachineEvents
import Mutations
import PageTables
import PagingUnits

/// The present leaves of one tree that map a range of frames, in order.
///
/// The tree may lose leaves while it is walked; the walk goes on from where it stands.
struct LeafWalk {
  /// Where the walk stands.
  private(set) var path: EntryPath
  private let end: GuestFrame
  private var isFirst = true

  /// A walk that stands before the first leaf of `frames`.
  init(_ root: ShadowPage, _ frames: Range<GuestFrame>, _ tables: borrowing PageTables) {
    path = EntryPath(
      in: tables, root: root.frame, level: root.role.level, space: root.role.space,
      frame: frames.lowerBound)
    while path.stepDown(towards: frames.lowerBound) {}
    end = frames.upperBound
  }

  /// Goes to the next present leaf; `false` behind the last one.
  mutating func next(_ tables: borrowing PageTables) -> Bool {
    while isFirst || path.advance() {
      isFirst = false
      guard path.frame < end else { return false }
      if Mutation.zapOneFrameShort.isActive && path.frame + 1 == end { return false }
      if Mutation.zapStopsAtTable.isActive && path.level > .page4K { return false }
      tables.interleaver.reach(.betweenEntries)
      path.reread()
      if path.entry.isPresentLeaf(at: path.level) { return true }
    }
    return false
  }
}
