public import PagingUnits

extension HostAddressSpace {
  // MARK: Files

  /// Opens a file, with an empty page cache.
  public func open(_ file: HostFile) throws(HostRegionError) -> HostFileID {
    guard let root = allocateHostTable() else { throw .outOfFrames }
    lock()
    // SAFETY: the lock is held; the row is below the capacity.
    let index = unsafe state.pointee.fileCount
    guard index < limits.files else {
      unlock()
      host.free(root)
      throw .tooMany
    }
    // SAFETY: the lock is held; the row is below the capacity.
    unsafe (state.pointee.files + index).initialize(to: .init(file: file, root: root))
    unsafe state.pointee.fileCount = index + 1
    unlock()
    return HostFileID(index: UInt32(truncatingIfNeeded: index))
  }

  func openFile(_ id: HostFileID) -> HostAddressSpaceState.OpenFile {
    // SAFETY: an id is only made for a row that exists and never changes.
    unsafe state.pointee.files[Int(id.index)]
  }

  // MARK: Regions

  /// Adds a region and returns its first address; no page is there until it is touched (Linux:
  /// `mmap`).
  public func add(_ request: HostRegionRequest) throws(HostRegionError) -> HostVirtual {
    let page = request.backing.largestPage
    guard page <= .page1G else { throw .pageSize(page) }
    var granule: UInt64 = 4096
    if case .hugePages = request.backing { granule = page.byteCount }
    guard request.byteCount > 0, request.byteCount & (granule - 1) == 0 else {
      throw .size(request.byteCount)
    }
    if case .file(let id, let offset, _) = request.backing {
      lock()
      // SAFETY: the lock is held.
      let isOpen = unsafe Int(id.index) < state.pointee.fileCount
      unlock()
      precondition(isOpen, "a file is opened before it is mapped")
      guard offset & 0xFFF == 0 else { throw .misaligned(offset) }
    }
    lock()
    defer { unlock() }
    // SAFETY: the lock is held.
    guard unsafe state.pointee.regionCount < limits.regions else { throw .tooMany }
    var start = HostVirtual(0)
    if let address = request.address {
      guard address.raw & (granule - 1) == 0 else { throw .misaligned(address.raw) }
      guard let end = address.advanced(checking: request.byteCount), end <= Self.endAddress else {
        throw .outside(address..<Self.endAddress)
      }
      start = address
    } else {
      guard let gap = gap(request.byteCount, alignedTo: page) else { throw .noGap }
      start = gap
    }
    let range = start..<(start + request.byteCount)
    let index = firstRegion(endingAfter: start)
    if let next = region(at: index), next.range.lowerBound < range.upperBound {
      throw .overlap(next.range.lowerBound)
    }
    insertRegion(
      HostRegion(range: range, backing: request.backing, protection: request.protection), at: index)
    return start
  }

  /// The region that holds `address`.
  public func region(containing address: HostVirtual) -> HostRegion? {
    lock()
    defer { unlock() }
    return regionLocked(containing: address)
  }

  /// Takes away the region that starts at `address` with all its pages (Linux: `munmap`).
  public func remove<Notifier: HostNotifier & ~Copyable>(
    regionAt address: HostVirtual, telling notifier: borrowing Notifier
  ) throws(HostRegionError) {
    lock()
    let index = firstRegion(endingAfter: address)
    guard let region = region(at: index), region.range.lowerBound == address else {
      unlock()
      throw .absent(address)
    }
    removeRegion(at: index)
    unlock()
    dropPages(of: region.range, telling: notifier)
  }

  // MARK: Rows, with the lock held

  func regionLocked(containing address: HostVirtual) -> HostRegion? {
    guard let region = region(at: firstRegion(endingAfter: address)),
      region.range.lowerBound <= address
    else { return nil }
    return region
  }

  func region(at index: Int) -> HostRegion? {
    // SAFETY: the lock is held; rows below the count are initialised.
    guard unsafe index < state.pointee.regionCount else { return nil }
    return unsafe state.pointee.regions[index]
  }

  func setRegion(_ region: HostRegion, at index: Int) {
    // SAFETY: the lock is held; callers name a row below the count.
    unsafe state.pointee.regions[index] = region
  }

  /// The first region whose end lies after `address`.
  func firstRegion(endingAfter address: HostVirtual) -> Int {
    var low = 0
    // SAFETY: the lock is held; the indices stay below the count.
    var high = unsafe state.pointee.regionCount
    while low < high {
      let middle = (low + high) / 2
      // SAFETY: the lock is held; the index is below the count.
      if unsafe state.pointee.regions[middle].range.upperBound <= address {
        low = middle + 1
      } else {
        high = middle
      }
    }
    return low
  }

  func insertRegion(_ region: HostRegion, at index: Int) {
    // SAFETY: the lock is held; the caller checked that a row is free.
    let count = unsafe state.pointee.regionCount
    let rows = unsafe state.pointee.regions
    var row = count
    while row > index {
      // SAFETY: rows below the count are initialised, and one more fits.
      unsafe (rows + row).initialize(to: rows[row - 1])
      row -= 1
    }
    // SAFETY: as above.
    unsafe (rows + index).initialize(to: region)
    unsafe state.pointee.regionCount = count + 1
  }

  private func removeRegion(at index: Int) {
    // SAFETY: the lock is held; the caller names a row below the count.
    let count = unsafe state.pointee.regionCount
    for row in index..<(count - 1) {
      // SAFETY: both rows are below the count.
      unsafe state.pointee.regions[row] = state.pointee.regions[row + 1]
    }
    unsafe state.pointee.regionCount = count - 1
  }

  /// The lowest gap of `byteCount` bytes, with an unused page on each side.
  private func gap(_ byteCount: UInt64, alignedTo level: Level) -> HostVirtual? {
    let mask = level.byteCount - 1
    var start = (Self.lowestChosenAddress.raw + mask) & ~mask
    var index = firstRegion(endingAfter: Self.lowestChosenAddress)
    while byteCount <= Self.endAddress.raw, start <= Self.endAddress.raw - byteCount {
      guard let next = region(at: index) else { return HostVirtual(start) }
      if start + byteCount + 4096 <= next.range.lowerBound.raw { return HostVirtual(start) }
      start = max(start, (next.range.upperBound.raw + 4096 + mask) & ~mask)
      index += 1
    }
    return nil
  }
}
