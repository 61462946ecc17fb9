public import PagingUnits

extension HostAddressSpace {
  /// Gives a forked copy of the process a share of every anonymous page of `range`: whoever writes
  /// one next, guest or VMM, gets a copy of its own (Linux: `copy_present_ptes` in `fork`).
  ///
  /// There is one copy. It has a page table of its own, which counts as a mapping, and it never
  /// runs; sharing a range again replaces what it had there, `dropCopy` makes it give its pages
  /// back. Transparent huge pages are split first. Pages of files, of devices, the page of zeros
  /// and huge pages that do not split are left alone: the copy would find them by itself. A refused
  /// frame shares nothing.
  public func shareForCopy<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard (range.lowerBound.raw | range.upperBound.raw) & 0xFFF == 0,
      range.upperBound <= Self.endAddress
    else { return .unsuitable }
    guard let copyRoot = copyRootMadeIfNeeded() else { return .outOfFrames }
    var outcome = HostChangeOutcome.nothingThere
    while true {
      let prepared = prepareCopy(of: range, copyRoot, telling: notifier)
      guard prepared == .done else { return prepared }
      // Whoever joined pages meanwhile made progress, so going round again ends.
      if sharePages(of: range, copyRoot, &outcome, telling: notifier) == .whole { return outcome }
    }
  }

  /// Enters what is there into the copy's table: begin → change → end.
  private func sharePages<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, _ copyRoot: HostFrame, _ outcome: inout HostChangeOutcome,
    telling notifier: borrowing Notifier
  ) -> Coverage {
    var departing = DepartingPages()
    var coverage = Coverage.whole
    notifier.invalidateRangeStart(range)
    var address = range.lowerBound
    while address < range.upperBound {
      lock()
      let stop = walk(root, address)
      if stop.holdsPage, stop.level > .page4K, copiesOnWrite(address) {
        coverage = .withoutLargerPages
      }
      if share(address, stop, copyRoot, &departing) { outcome = .done }
      unlock()
      address = address.aligned(to: stop.level) + stop.level.byteCount
    }
    notifier.invalidateRangeEnd(range)
    departing.free(to: host)
    return coverage
  }

  /// Splits what is huge in `range` and makes the copy's tables for what is there.
  private func prepareCopy<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, _ copyRoot: HostFrame, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    var address = range.lowerBound
    while address < range.upperBound {
      let stop = walk(root, address)
      if stop.holdsPage, stop.level > .page4K {
        switch split(at: address, telling: notifier) {
        case .done, .nothingThere: continue
        case .outOfFrames: return .outOfFrames
        case .unsuitable: break
        }
      } else if stop.holdsPage || stop.entry.isSwapped {
        lock()
        let reached = reach(copyRoot, address, .page4K)
        unlock()
        if reached == nil { return .outOfFrames }
      }
      address = address.aligned(to: stop.level) + stop.level.byteCount
    }
    return .done
  }

  /// Enters the page at `address` into the copy's table, with the lock held; whether there was one
  /// to share.
  private func share(
    _ address: HostVirtual, _ stop: HostStop, _ copyRoot: HostFrame,
    _ departing: inout DepartingPages
  ) -> Bool {
    let isPage =
      stop.level == .page4K && stop.holdsPage && stop.entry.isCounted
      && host.records.kind(of: stop.entry.frame) == .anonymous
    guard isPage || stop.entry.isSwapped, copiesOnWrite(address) else { return false }
    // A page that came after the tables were made is not part of the copy.
    let target = walk(copyRoot, address)
    guard target.level == .page4K else { return false }
    addMapping(stop.entry.frame)
    clear(target, into: &departing)
    let entry = isPage ? HostEntry.page(stop.entry.frame, .page4K, []) : stop.entry
    host.memory.setEntry(entry.raw, at: target.place)
    if isPage { host.memory.setEntry(stop.entry.readOnly.raw, at: stop.place) }
    return true
  }

  /// Lets the forked copy give back what it has of `range` (Linux: the child's `munmap` or exit).
  ///
  /// No notifier: the process's own pages stay as they are, and the next write to one that is the
  /// process's alone again needs no copy.
  public func dropCopy(of range: Range<HostVirtual>) {
    lock()
    // SAFETY: the lock is held.
    let found = unsafe state.pointee.copyRoot
    unlock()
    guard let copyRoot = found else { return }
    var departing = DepartingPages()
    var address = range.lowerBound.pageStart
    while address < min(range.upperBound, Self.endAddress) {
      lock()
      let stop = walk(copyRoot, address)
      clear(stop, into: &departing)
      unlock()
      address = address.aligned(to: stop.level) + stop.level.byteCount
    }
    departing.free(to: host)
  }

  /// The copy's top table; `nil` when it was refused.
  private func copyRootMadeIfNeeded() -> HostFrame? {
    lock()
    defer { unlock() }
    // SAFETY: the lock is held.
    if let copyRoot = unsafe state.pointee.copyRoot { return copyRoot }
    guard let new = allocateHostTable() else { return nil }
    // SAFETY: the lock is held.
    unsafe state.pointee.copyRoot = new
    return new
  }

  /// Whether a write at `address` leaves other mappings of the page alone; with the lock held.
  ///
  /// It does not in memory that processes share.
  func copiesOnWrite(_ address: HostVirtual) -> Bool {
    switch regionLocked(containing: address)?.backing {
    case .anonymous, .file(_, _, .copyOnWrite): true
    case .file(_, _, .shared), .device, .hugePages, nil: false
    }
  }

  /// Takes the right to write from the entries of `range`; its next write takes it back (Linux:
  /// `clear_refs`, `change_protection`).
  ///
  /// The region stays writable. The write finds the page the process's alone and enters it writable
  /// in place, without a notification: a right is gained, none is lost. A transparent huge page
  /// that the range cuts is split first.
  public func writeProtect<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    var outcome = HostChangeOutcome.nothingThere
    while true {
      let split = splitEnds(of: range, telling: notifier)
      guard split == .done else { return split }
      // Whoever joined pages meanwhile made progress, so going round again ends.
      if writeProtectPages(of: range, &outcome, telling: notifier) == .whole { return outcome }
    }
  }

  private func writeProtectPages<Notifier: HostNotifier & ~Copyable>(
    of range: Range<HostVirtual>, _ outcome: inout HostChangeOutcome,
    telling notifier: borrowing Notifier
  ) -> Coverage {
    var coverage = Coverage.whole
    notifier.invalidateRangeStart(range)
    var address = range.lowerBound
    while address < range.upperBound {
      lock()
      let stop = walk(root, address)
      let start = address.aligned(to: stop.level)
      if stop.holdsPage, stop.entry.isPresent {
        if range.lowerBound <= start, stop.level.byteCount <= range.upperBound - start {
          host.memory.setEntry(stop.entry.readOnly.raw, at: stop.place)
          outcome = .done
        } else {
          coverage = .withoutLargerPages
        }
      }
      unlock()
      address = start + stop.level.byteCount
    }
    notifier.invalidateRangeEnd(range)
    return coverage
  }
}
