import Mutations
public import PagingUnits

/// Pages that lost their last mapping and wait to be freed, chained through their records.
struct DepartingPages: ~Copyable {
  private var first: UInt32 = 0

  mutating func add(_ frame: HostFrame, _ records: FrameRecords) {
    records.store(first, frame, 1)
    first = UInt32(truncatingIfNeeded: frame.number) + 1
  }

  mutating func free(to host: borrowing HostMemory) {
    while first != 0 {
      let frame = HostFrame(UInt64(first - 1))
      first = host.records.load(frame, 1)
      host.free(frame)
    }
  }

  deinit { precondition(first == 0, "pages that left their mappings go back to the host") }
}

extension HostAddressSpace {
  /// Drops the pages of `range`; their contents are lost, and the next touch finds fresh ones
  /// (Linux: `MADV_DONTNEED`).
  ///
  /// Pages of files stay in the page cache. A transparent huge page that the range cuts is split
  /// first.
  public func unmap<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    while true {
      let split = splitEnds(of: range, telling: notifier)
      guard split == .done else { return split }
      // Whoever joined the pages meanwhile made progress, so going round again ends.
      if dropPages(of: range, telling: notifier) == .whole { return .done }
    }
  }

  /// How much of a range a change took in.
  enum Coverage {
    /// Everything.
    case whole
    /// Not the pages that reach beyond the range: somebody joined them with their neighbours after
    /// the ends had been split.
    case withoutLargerPages
  }

  /// Clears the entries of whole pages inside `range`: begin → clear → end, then the frames go.
  @discardableResult
  func dropPages<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> Coverage {
    var departing = DepartingPages()
    var coverage = Coverage.whole
    let isLate = Mutation.pagesFreedBeforeNotifier.isActive
    if !isLate { notifier.invalidateRangeStart(range) }
    var address = range.lowerBound
    while address < range.upperBound {
      lock()
      let stop = walk(root, address)
      let start = address.aligned(to: stop.level)
      if stop.holdsPage || stop.entry.isSwapped || stop.entry.isPoisoned {
        if range.lowerBound <= start, stop.level.byteCount <= range.upperBound - start {
          clear(stop, into: &departing)
        } else {
          coverage = .withoutLargerPages
        }
      }
      unlock()
      guard let next = start.advanced(checking: stop.level.byteCount) else { break }
      address = next
    }
    if isLate {
      departing.free(to: host)
      notifier.invalidateRangeStart(range)
    }
    notifier.invalidateRangeEnd(range)
    departing.free(to: host)
    return coverage
  }

  /// Empties an entry that holds a page or says where one lies, with the lock held; a table set
  /// aside comes back.
  func clear(_ stop: HostStop, into departing: inout DepartingPages) {
    let frame = stop.entry.frame
    var empty = HostEntry.absent
    let isMapping = stop.holdsPage && stop.entry.isCounted
    if isMapping {
      let aside = host.records.load(frame, 3)
      if aside != 0 {
        host.records.store(0, frame, 3)
        empty = .tableSetAside(HostFrame(UInt64(aside - 1)))
      }
    }
    host.memory.setEntry(empty.raw, at: stop.place)
    if isMapping || stop.entry.isSwapped, dropMapping(frame) {
      departing.add(frame, host.records)
    }
  }

  /// Changes what the process may do with `range` (Linux: `mprotect`).
  ///
  /// Taking a right away takes effect at once; a page becomes writable again at its next write.
  /// Throws when part of the range has no region, or when the regions that result are too many.
  public func protect<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, _ protection: HostProtection, telling notifier: borrowing Notifier
  ) throws(HostRegionError) {
    guard (range.lowerBound.raw | range.upperBound.raw) & 0xFFF == 0 else {
      throw .misaligned(range.lowerBound.raw)
    }
    if range.isEmpty { return }
    func splitEnds() throws(HostRegionError) {
      let split = self.splitEnds(of: range, telling: notifier)
      guard split == .done else {
        throw split == .outOfFrames ? .outOfFrames : .misaligned(range.lowerBound.raw)
      }
    }
    try splitEnds()
    try setProtection(protection, of: range)
    while protectPages(of: range, protection, telling: notifier) == .withoutLargerPages {
      // Somebody joined pages after the split; nobody does over the end of what is protected now.
      try splitEnds()
    }
  }

  /// Changes the entries of whole pages inside `range`: begin → change → end.
  private func protectPages<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, _ protection: HostProtection, telling notifier: borrowing Notifier
  ) -> Coverage {
    var coverage = Coverage.whole
    let isSilent = Mutation.protectWithoutNotifier.isActive
    if !isSilent { notifier.invalidateRangeStart(range) }
    var address = range.lowerBound
    while address < range.upperBound {
      lock()
      let stop = walk(root, address)
      let start = address.aligned(to: stop.level)
      let isInside =
        range.lowerBound <= start && stop.level.byteCount <= range.upperBound - start
      if stop.holdsPage, !isInside { coverage = .withoutLargerPages }
      if stop.holdsPage, isInside {
        let entry: HostEntry =
          switch protection {
          case .none: stop.entry.isPresent ? stop.entry.concealed : stop.entry
          case .readOnly, .readWrite:
            stop.entry.isPresent
              ? (protection == .readOnly ? stop.entry.readOnly : stop.entry) : stop.entry.revealed
          }
        host.memory.setEntry(entry.raw, at: stop.place)
      }
      unlock()
      address = start + stop.level.byteCount
    }
    if !isSilent { notifier.invalidateRangeEnd(range) }
    return coverage
  }

  /// Gives the rows of `range` a protection, cutting regions at its ends.
  private func setProtection(
    _ protection: HostProtection, of range: Range<HostVirtual>
  ) throws(HostRegionError) {
    lock()
    defer { unlock() }
    var address = range.lowerBound
    while address < range.upperBound {
      guard let region = regionLocked(containing: address) else { throw .absent(address) }
      address = region.range.upperBound
    }
    // SAFETY: the lock is held.
    guard unsafe state.pointee.regionCount + 2 <= limits.regions else { throw .tooMany }
    cutRegion(at: range.lowerBound)
    cutRegion(at: range.upperBound)
    var index = firstRegion(endingAfter: range.lowerBound)
    while var region = region(at: index), region.range.lowerBound < range.upperBound {
      region.protection = protection
      setRegion(region, at: index)
      index += 1
    }
  }

  private func cutRegion(at address: HostVirtual) {
    let index = firstRegion(endingAfter: address)
    guard var region = region(at: index), region.range.lowerBound < address else { return }
    let suffix = region.suffix(from: address)
    region.range = region.range.lowerBound..<address
    setRegion(region, at: index)
    insertRegion(suffix, at: index + 1)
  }
}
