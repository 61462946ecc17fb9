import Mutations
public import PagingUnits

extension HostAddressSpace {
  /// Splits the transparent huge page at `address` into pages one level smaller (Linux:
  /// `split_huge_pmd` and `split_folio`).
  ///
  /// Frames and contents stay where they are.
  public func split<Notifier: HostNotifier & ~Copyable>(
    at address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    let found = walk(root, address)
    guard found.holdsPage, let below = found.level.below else { return .nothingThere }
    guard isTransparent(address) else { return .unsuitable }
    guard let spare = allocateHostTable() else { return .outOfFrames }
    let start = address.aligned(to: found.level)
    let range = start..<(start + found.level.byteCount)
    notifier.invalidateRangeStart(range)
    let outcome = splitEntry(start, found, below, spare)
    notifier.invalidateRangeEnd(range)
    if outcome.spareIsLeft { host.free(spare) }
    return outcome.isDone ? .done : .nothingThere
  }

  private func splitEntry(
    _ start: HostVirtual, _ found: HostStop, _ below: Level, _ spare: HostFrame
  ) -> (isDone: Bool, spareIsLeft: Bool) {
    lock()
    defer { unlock() }
    let stop = walk(root, start)
    guard stop.level == found.level, stop.entry == found.entry else { return (false, true) }
    let head = stop.entry.frame
    let aside = host.records.load(head, 3)
    let table = aside == 0 ? spare : HostFrame(UInt64(aside - 1))
    host.split(head, into: FrameOrder(below))
    for index in 0..<512 as Range<UInt64> {
      let place = table.address + index * 8
      let part = head + index * below.frameCount
      let old = HostEntry(host.memory.entry(at: place))
      if old.isTable(at: below) || old.isSetAside {
        host.records.store(UInt32(truncatingIfNeeded: old.frame.number) + 1, part, 3)
      }
      var raw = stop.entry.moved(to: part).raw
      if below == .page4K { raw &= ~HostEntry.pageSize.mask }
      host.memory.setEntry(raw, at: place)
    }
    host.memory.setEntry(HostEntry.table(table).raw, at: stop.place)
    return (true, aside != 0)
  }

  /// Gathers the pages around `address` into one huge page of `level`, copying them (Linux:
  /// `collapse_huge_page`).
  ///
  /// Untouched pages become zeros, and pages that were swapped out come back.
  public func collapse<Notifier: HostNotifier & ~Copyable>(
    at address: HostVirtual, to level: Level, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard .page4K < level && level <= .page1G else { return .unsuitable }
    let start = address.aligned(to: level)
    guard let end = start.advanced(checking: level.byteCount),
      isGatherable(region(containing: start), until: end, level)
    else { return .unsuitable }
    let order = FrameOrder(level)
    guard let block = host.allocate(order, as: .anonymous) else { return .outOfFrames }
    var departing = DepartingPages()
    if Mutation.hostZapWithoutNotifier.isActive {
      let outcome = gather(start..<end, level, into: block.frame, &departing)
      departing.free(to: host)
      if outcome != .done { host.free(block.frame) }
      return outcome
    }
    notifier.invalidateRangeStart(start..<end)
    let outcome = gather(start..<end, level, into: block.frame, &departing)
    notifier.invalidateRangeEnd(start..<end)
    departing.free(to: host)
    if outcome != .done { host.free(block.frame) }
    return outcome
  }

  private func gather(
    _ range: Range<HostVirtual>, _ level: Level, into block: HostFrame,
    _ departing: inout DepartingPages
  ) -> HostChangeOutcome {
    lock()
    defer { unlock() }
    // The region may have been cut, protected or removed since it was looked at.
    guard isGatherable(regionLocked(containing: range.lowerBound), until: range.upperBound, level)
    else { return .unsuitable }
    let suitable = isGatherable(range, level)
    guard suitable == .done else { return suitable }
    var address = range.lowerBound
    while address < range.upperBound {
      let stop = walk(root, address)
      let target = block + (address - range.lowerBound) >> 12
      let order = FrameOrder(min(stop.level, .page1G))
      if stop.holdsPage || stop.entry.isSwapped {
        for offset in 0..<order.frameCount {
          host.memory.copyFrame(from: stop.entry.frame + offset, to: target + offset)
        }
        if host.records.isDirty(stop.entry.frame) { host.records.markDirty(block) }
        clear(stop, into: &departing)
      } else {
        if !Mutation.collapseLeavesHoles.isActive { fillZero(target, order) }
      }
      address = address + stop.level.byteCount
    }
    guard let stop = reach(root, range.lowerBound, level), stop.level == level else {
      preconditionFailure("tables stand where smaller pages stood")
    }
    host.records.store(UInt32(truncatingIfNeeded: stop.entry.frame.number) + 1, block, 3)
    addMapping(block)
    host.memory.setEntry(HostEntry.page(block, level, .write).raw, at: stop.place)
    return .done
  }

  /// Whether a region lets huge pages of `level` stand up to `end`, and be written.
  private func isGatherable(
    _ region: HostRegion?, until end: HostVirtual, _ level: Level
  ) -> Bool {
    guard let region, case .anonymous(let largest) = region.backing else { return false }
    return level <= largest && region.protection == .readWrite && end <= region.range.upperBound
  }

  /// Whether a table with at least one page stands at `level`, and every page under it is the
  /// process's alone.
  private func isGatherable(_ range: Range<HostVirtual>, _ level: Level) -> HostChangeOutcome {
    var pages = 0
    var address = range.lowerBound
    while address < range.upperBound {
      let stop = walk(root, address)
      if stop.level >= level { return stop.holdsPage ? .unsuitable : .nothingThere }
      if stop.entry.isPoisoned { return .unsuitable }
      if stop.entry.isSwapped { pages += 1 }
      if stop.holdsPage {
        pages += 1
        if stop.entry.isCounted {
          let frame = stop.entry.frame
          guard host.records.kind(of: frame) == .anonymous,
            host.records.mappings(of: frame) == 1
          else { return .unsuitable }
        }
      }
      address = address + stop.level.byteCount
    }
    return pages > 0 ? .done : .nothingThere
  }

  /// Splits the huge pages that the ends of `range` cut.
  func splitEnds<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard (range.lowerBound.raw | range.upperBound.raw) & 0xFFF == 0,
      range.upperBound <= Self.endAddress
    else { return .unsuitable }
    let outcome = split(around: range.lowerBound, telling: notifier)
    guard outcome == .done else { return outcome }
    return split(around: range.upperBound, telling: notifier)
  }

  /// Splits the page at `address` until one starts there.
  private func split<Notifier: HostNotifier & ~Copyable>(
    around address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    while true {
      let stop = walk(root, address)
      guard stop.holdsPage, address.offset(in: stop.level) != 0 else { return .done }
      let outcome = split(at: address, telling: notifier)
      if outcome == .outOfFrames || outcome == .unsuitable { return outcome }
    }
  }

  private func isTransparent(_ address: HostVirtual) -> Bool {
    guard let region = region(containing: address) else { return false }
    if case .anonymous = region.backing { return true }
    return false
  }
}
