import HostMemory
import PagingUnits

/// Accessed and dirty bits (SDM volume 3A, "Accessed and Dirty Flags"; volume 3C, "Accessed and
/// Dirty Flags for EPT").
extension Processor {
  /// Sets the accessed bits of the guest's entries from the top down, and the leaf's dirty bit for
  /// a write, each by one locked step.
  ///
  /// The manual lets a processor set upper accessed bits even for a walk that then faults; this one
  /// sets none unless the whole access is permitted.
  ///
  /// `root` is the guest-physical address of the topmost table that was read. The answer is
  /// `.changed` when an entry is no longer what was read, and `.refused` when the second dimension
  /// forbids to write an entry.
  mutating func mark(
    _ walk: Walk, _ trail: WalkTrail, from top: Int, _ root: UInt64,
    to leaf: Int
  ) -> WalkStep {
    let isShort = mode.levels == 2
    var table = root
    var depth = top
    while depth >= leaf {
      let old = trail.entries[depth]
      let dirty = walk.writes && depth == leaf ? EntryBits.dirty : 0
      let new = old | EntryBits.accessed | dirty
      if new != old {
        var host = trail.places[depth]
        if writesAnew(walk.dimension) {
          let place =
            isShort
            ? Self.shortPlace(in: table, depth, walk.linear)
            : Self.place(in: table, depth, walk.linear)
          var found = SecondFound()
          guard second(place, .write, .table, linear: walk.linear, walk.dimension, &found) else {
            return .refused
          }
          host = found.host
        }
        guard exchange(old, for: new, at: HostPhysical(host), isShort ? 4 : 8) else {
          return .changed
        }
      }
      table = old & EntryBits.address
      depth &-= 1
    }
    return .found
  }

  /// Whether writing an entry of the guest's is an access of its own, because reading it was no
  /// write: with EPT that has no accessed and dirty bits.
  private func writesAnew(_ dimension: SecondDimension) -> Bool {
    guard case .ept(let eptp) = dimension else { return false }
    return eptp & EPTBits.pointerMarks == 0
  }

  /// Sets accessed bits of the second dimension's entries from the top down, and the leaf's dirty
  /// bit if the access needs it; `false` when an entry is no longer what was read.
  mutating func markSecond(
    _ trail: WalkTrail, from top: Int, to leaf: Int, accessed: UInt64, dirty: UInt64
  ) -> Bool {
    var depth = top
    while depth >= leaf {
      let old = trail.entries[depth]
      let new = old | (depth == leaf ? accessed | dirty : accessed)
      if new != old {
        guard exchange(old, for: new, at: HostPhysical(trail.places[depth]), 8) else {
          return false
        }
      }
      depth &-= 1
    }
    return true
  }

  /// Replaces an entry that still is what was read; what lies outside memory stays all ones.
  private mutating func exchange(
    _ old: UInt64, for new: UInt64, at place: HostPhysical, _ width: UInt64
  ) -> Bool {
    guard memory.contains(place, count: width) else { return true }
    counters.assists &+= 1
    if width == 8 {
      return memory.compareExchangeEntry(expected: old, desired: new, at: place) == old
    }
    let expected = UInt32(truncatingIfNeeded: old)
    return memory.compareExchangeEntry32(
      expected: expected, desired: UInt32(truncatingIfNeeded: new), at: place) == expected
  }
}
