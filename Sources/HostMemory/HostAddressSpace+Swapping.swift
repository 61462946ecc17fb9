public import PagingUnits

extension HostAddressSpace {
  /// Takes the page at `address` out of memory, its bytes kept; the next touch brings it back
  /// (Linux: `shrink_folio_list`, `pageout`).
  ///
  /// The bytes move to a frame of the swap area, every entry that maps the page names that frame
  /// instead, and the page's own frame is freed after the end of the notification, so that it is
  /// soon another page's. A page of a file is only unmapped: its frame in the page cache keeps the
  /// bytes. A transparent huge page is split first and the one 4 KiB page is swapped. A page of
  /// zeros is nothing to swap; devices' pages, huge pages that do not split and pages with more
  /// than 16 mappings are `unsuitable`.
  public func swapOut<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard address < Self.endAddress else { return .nothingThere }
    let first = walk(root, address)
    guard first.holdsPage else { return .nothingThere }
    guard first.entry.isCounted else {
      return first.entry.frame == host.zeroFrame ? .nothingThere : .unsuitable
    }
    guard isSwappable(address) else { return .unsuitable }
    // The frame is had before anything changes: a refusal splits no page.
    var place: HostFrame?
    if host.records.kind(of: first.entry.frame) == .anonymous {
      guard let block = host.allocate(.page4K, as: .swapped) else { return .outOfFrames }
      place = block.frame
    }
    let outcome = swapOut(address, to: &place, telling: notifier)
    if let place { host.free(place) }
    return outcome
  }

  /// Swaps the page at `address` to the frame, which is `nil` afterwards if it was used.
  private func swapOut<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, to place: inout HostFrame?, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    var found = walk(root, address)
    while found.holdsPage, found.level > .page4K {
      let split = split(at: address, telling: notifier)
      if split == .outOfFrames || split == .unsuitable { return split }
      found = walk(root, address)
    }
    guard found.holdsPage else { return .nothingThere }
    guard found.entry.isCounted, let mappings = mappings(of: found, at: address),
      mappings.kind == .file || mappings.kind == .anonymous && place != nil
    else { return .unsuitable }
    var departing = DepartingPages()
    beginChange(of: mappings, telling: notifier)
    let outcome = replace(mappings, by: &place, &departing)
    endChange(of: mappings, telling: notifier)
    departing.free(to: host)
    return outcome
  }

  private func replace(
    _ mappings: HostMappings, by place: inout HostFrame?, _ departing: inout DepartingPages
  ) -> HostChangeOutcome {
    lock()
    defer { unlock() }
    guard areCurrent(mappings) else { return .unsuitable }
    // SAFETY: the lock is held.
    let copyRoot = unsafe state.pointee.copyRoot
    let target = mappings.kind == .anonymous ? place.take() : nil
    if let target { copyPage(mappings.frame, to: target, .page4K) }
    for index in 0..<mappings.count {
      let tree = mappings[index].root
      // The page cache keeps a file's page.
      guard tree == root || tree == copyRoot else { continue }
      let stop = walk(tree, mappings[index].address)
      clear(stop, into: &departing)
      guard let target else { continue }
      addMapping(target)
      host.memory.setEntry(HostEntry.swapped(to: target).raw, at: stop.place)
    }
    return .done
  }

  /// Whether the pages around `address` may be swapped: not those of shared huge-page memory.
  private func isSwappable(_ address: HostVirtual) -> Bool {
    guard let region = region(containing: address) else { return false }
    if case .hugePages = region.backing { return false }
    return true
  }

  /// Brings the page at `address` back into memory by the host's own choice (Linux: `swapoff`,
  /// read-ahead).
  ///
  /// No notifier: an entry without a page is mapped by nobody.
  public func swapIn(_ address: HostVirtual) -> HostChangeOutcome {
    guard address < Self.endAddress else { return .nothingThere }
    lock()
    defer { unlock() }
    let stop = walk(root, address)
    guard stop.entry.isSwapped, let region = regionLocked(containing: address) else {
      return .nothingThere
    }
    return bringIn(stop, for: .read, in: region) ? .done : .outOfFrames
  }

  /// Copies a page from the swap area to a frame of its own, with the lock held; whether a frame
  /// was to be had (Linux: `do_swap_page`).
  ///
  /// Others whose entries name the same place keep it; each gets a page of its own. The page is
  /// entered writable only for a write: a later one finds it the process's alone.
  func bringIn(_ stop: HostStop, for access: HostAccess, in region: HostRegion) -> Bool {
    guard let block = host.allocate(.page4K, as: .anonymous) else { return false }
    let place = stop.entry.frame
    copyPage(place, to: block.frame, .page4K)
    addMapping(block.frame)
    let isWritable = access == .write && region.protection == .readWrite
    let entry = HostEntry.page(block.frame, .page4K, isWritable ? .write : [])
    host.memory.setEntry(
      (region.protection == .none ? entry.concealed : entry).raw, at: stop.place)
    if dropMapping(place) { host.free(place) }
    return true
  }

  // MARK: Ranges

  /// Takes every page of a range out of memory that can be, page by page.
  ///
  /// `done` when any was; a refused frame ends it.
  public func swapOut<Notifier: HostNotifier & ~Copyable>(
    _ range: Range<HostVirtual>, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    eachPage(of: range) { page in swapOut(page, telling: notifier) }
  }

  /// Brings every page of a range back into memory that is not there, page by page.
  ///
  /// `done` when any was; a refused frame ends it.
  public func swapIn(_ range: Range<HostVirtual>) -> HostChangeOutcome {
    eachPage(of: range) { page in swapIn(page) }
  }

  /// Changes the 4 KiB pages of a range that exist, in memory or in the swap area, one by one.
  func eachPage(
    of range: Range<HostVirtual>, _ change: (HostVirtual) -> HostChangeOutcome
  ) -> HostChangeOutcome {
    guard range.upperBound <= Self.endAddress else { return .unsuitable }
    var total = HostChangeOutcome.nothingThere
    var address = range.lowerBound.pageStart
    while address < range.upperBound {
      let stop = walk(root, address)
      guard stop.holdsPage || stop.entry.isSwapped else {
        address = address.aligned(to: stop.level) + stop.level.byteCount
        continue
      }
      switch change(address) {
      case .done: total = .done
      case .nothingThere: break
      case .unsuitable: if total == .nothingThere { total = .unsuitable }
      case .outOfFrames: return .outOfFrames
      }
      address = address + 4096
    }
    return total
  }
}
