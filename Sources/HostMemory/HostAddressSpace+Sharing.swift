import Mutations
public import PagingUnits

extension HostAddressSpace {
  /// Lets the page at `address` share the frame of the page at `source` when both hold the same
  /// bytes; the first write to either makes a copy (Linux: same-page merging).
  ///
  /// Both are 4 KiB pages of anonymous memory and different addresses.
  public func merge<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, into source: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    let target = address.pageStart
    let kept = source.pageStart
    guard target != kept else { return .unsuitable }
    var departing = DepartingPages()
    // Both entries change: the one left loses its right to write.
    notifier.invalidateRangeStart(kept..<(kept + 4096))
    notifier.invalidateRangeStart(target..<(target + 4096))
    let outcome = mergeEntries(target, kept, &departing)
    notifier.invalidateRangeEnd(target..<(target + 4096))
    notifier.invalidateRangeEnd(kept..<(kept + 4096))
    departing.free(to: host)
    return outcome
  }

  /// Merges the pages of a range that hold the same bytes (Linux: one scan of `ksmd`).
  ///
  /// Each page is compared with the first 64 pages that were found different from one another.
  /// `done` when any two came to share a frame.
  public func merge<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    var kept = InlineArray<64, HostVirtual>(repeating: HostVirtual(0))
    var keptCount = 0
    return eachPage(of: range) { page in
      for index in 0..<keptCount {
        switch likeness(page, kept[index]) {
        case .onePage: return .nothingThere
        case .equal:
          if merge(page, into: kept[index], telling: notifier) == .done { return .done }
        case .different: break
        }
      }
      if keptCount < 64 {
        kept[keptCount] = page
        keptCount += 1
      }
      return .nothingThere
    }
  }

  private enum Likeness { case onePage, equal, different }

  /// How the pages at two addresses compare, before anybody is told of a change.
  private func likeness(_ page: HostVirtual, _ other: HostVirtual) -> Likeness {
    lock()
    defer { unlock() }
    let left = walk(root, page)
    let right = walk(root, other)
    guard isMergeable(left), isMergeable(right) else { return .different }
    if left.entry.frame == right.entry.frame { return .onePage }
    return haveSameBytes(left.entry.frame, right.entry.frame) ? .equal : .different
  }

  private func mergeEntries(
    _ target: HostVirtual, _ kept: HostVirtual, _ departing: inout DepartingPages
  ) -> HostChangeOutcome {
    lock()
    defer { unlock() }
    let from = walk(root, target)
    let into = walk(root, kept)
    guard isMergeable(from), isMergeable(into) else { return .nothingThere }
    guard copiesOnWrite(target), copiesOnWrite(kept) else { return .unsuitable }
    guard from.entry.frame != into.entry.frame,
      haveSameBytes(from.entry.frame, into.entry.frame)
    else { return .unsuitable }
    if !Mutation.mergeLeavesWritable.isActive {
      host.memory.setEntry(into.entry.readOnly.raw, at: into.place)
    }
    clear(from, into: &departing)
    addMapping(into.entry.frame)
    host.memory.setEntry(from.entry.readOnly.moved(to: into.entry.frame).raw, at: from.place)
    return .done
  }

  private func isMergeable(_ stop: HostStop) -> Bool {
    stop.level == .page4K && stop.entry.isPresent && stop.entry.isCounted
      && host.records.kind(of: stop.entry.frame) == .anonymous
  }

  private func haveSameBytes(_ left: HostFrame, _ right: HostFrame) -> Bool {
    let memory = host.memory
    for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> {
      let word = memory.entry(at: left.address + offset)
      if word != memory.entry(at: right.address + offset) { return false }
    }
    return true
  }

  /// How `age` asks.
  public enum AgeQuestion: UInt8, Hashable, Sendable {
    /// Forget the marks and flush (Linux: `ptep_clear_flush_young_notify`).
    case clearAndFlush
    /// Forget the marks (Linux: `ptep_clear_young_notify`).
    case clear
    /// Only ask about the first page (Linux: `mmu_notifier_test_young`).
    case test
  }

  /// Whether the guest or the host used a page of `range` since it was last asked.
  public func age<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, _ question: AgeQuestion, telling notifier: borrowing Notifier
  ) -> Bool {
    let young =
      switch question {
      case .clearAndFlush: notifier.clearFlushYoung(range)
      case .clear: notifier.clearYoung(range)
      case .test: notifier.testYoung(range.lowerBound)
      }
    return ageEntries(range, question) || young
  }

  private func ageEntries(_ range: Range<HostVirtual>, _ question: AgeQuestion) -> Bool {
    var young = false
    var address = range.lowerBound
    while address < range.upperBound {
      lock()
      let stop = walk(root, address)
      if stop.entry.isPresent, HostEntry.accessed.isSet(in: stop.entry.raw) {
        young = true
        if question != .test {
          host.memory.setEntry(stop.entry.raw & ~HostEntry.accessed.mask, at: stop.place)
        }
      }
      unlock()
      if question == .test { break }
      address = address.aligned(to: stop.level) + stop.level.byteCount
    }
    return young
  }
}
