public import GuestMemory
public import HostMemory
import Mutations
public import PageTables
public import PagingUnits

/// What the host makes of mappings: gone, or looked at for their age, by the reverse maps.
///
/// The caller holds the writer side of the MMU lock in all of them, and pays what is owed before it
/// lets go.
extension ShadowMMU {
  /// Takes away every leaf that maps one of `frames`, all in `slot` (KVM: `kvm_unmap_rmap`).
  public func zapLeaves(
    of frames: Range<GuestFrame>, in slot: Memslot, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    for depth in 1...(Mutation.hostTakesSmallPagesOnly.isActive ? 1 : 3) {
      var walk = RegionWalk(frames, Level(depth))
      while let frame = walk.next() {
        let start = max(frame, slot.baseFrame)
        while let more = tables.dropFirstLeaf(of: start, Level(depth), row, host) {
          owed.add(more)
          if Mutation.hostTakesOneLeafOfEach.isActive { break }
        }
      }
    }
    return owed
  }

  /// Clears the accessed state of every leaf of a range (KVM: `kvm_age_rmap`).
  public func age(
    _ frames: Range<GuestFrame>, in slot: Memslot, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    var owed = PendingFlush()
    _ = hasAccessedLeaf(frames, in: slot, tables, host) { place, old in
      if Mutation.shadowLeavesNeverAge.isActive { return false }
      owed.add(
        tables.change(place, to: tables.encoding.withoutAccess(old), nil, rows: nil, nil, host))
      return false
    }
    return owed
  }

  /// Whether any leaf of a range was accessed; changes nothing (KVM: `kvm_test_age_rmap`).
  public func isYoung(
    _ frames: Range<GuestFrame>, in slot: Memslot, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> Bool {
    hasAccessedLeaf(frames, in: slot, tables, host) { _, _ in true }
  }

  /// Goes through the accessed leaves of a range until `isWanted` says so of one; whether it did.
  @inline(__always) private func hasAccessedLeaf(
    _ frames: Range<GuestFrame>, in slot: Memslot, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory, where isWanted: (ShadowPlace, SPTE) -> Bool
  ) -> Bool {
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    for depth in 1...3 {
      var walk = RegionWalk(frames, Level(depth))
      while let frame = walk.next() {
        let start = max(frame, slot.baseFrame)
        var leaves = tables.maps.lists.walk(tables.maps.leaves(row, start, Level(depth)))
        while let address = tables.maps.lists.next(&leaves) {
          let place = tables.place(at: address, host)
          let entry = tables.entry(at: place)
          if tables.encoding.isAccessed(entry), isWanted(place, entry) { return true }
        }
      }
    }
    return false
  }
}

/// The naturally aligned regions of a level that hold frames of a range.
private struct RegionWalk {
  private var frame: GuestFrame
  private let end: GuestFrame
  private let step: UInt64

  init(_ frames: Range<GuestFrame>, _ level: Level) {
    frame = frames.lowerBound.aligned(to: level)
    end = frames.upperBound
    step = level.frameCount
  }

  mutating func next() -> GuestFrame? {
    guard frame < end else { return nil }
    defer { frame = frame + step }
    return frame
  }
}
