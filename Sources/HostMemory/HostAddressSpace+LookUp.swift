import Mutations
public import PagingUnits

extension HostAddressSpace {
  /// Finds the page at `address`, faulting it in, from the swap area too, and breaking
  /// copy-on-write as the access needs (KVM: `hva_to_pfn`).
  ///
  /// A write that has to copy a page tells the notifier: begin → change → end. The caller holds no
  /// lock that the notifier takes.
  public func lookUp<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, for access: HostAccess, telling notifier: borrowing Notifier
  ) -> HostLookup {
    if let page = lookUpMapped(address, for: access) { return .page(page) }
    while true {
      switch faultIn(address, for: access) {
      case .settled(let answer):
        return answer
      case .needsCopy:
        guard let copy = host.allocate(.page4K, as: .anonymous) else { return .refused }
        let range = address.pageStart..<(address.pageStart + 4096)
        notifier.invalidateRangeStart(range)
        let unused = breakCopyOnWrite(at: address, with: copy.frame)
        notifier.invalidateRangeEnd(range)
        // Whoever changed the page meanwhile made progress, so going round again ends.
        if let unused { host.free(unused) }
      }
    }
  }

  /// The page at `address` if the mapping there already permits the access; nothing is faulted in
  /// (KVM: `get_user_page_fast_only`).
  ///
  /// No lock.
  public func lookUpMapped(_ address: HostVirtual, for access: HostAccess) -> HostPage? {
    guard address < Self.endAddress else { return nil }
    let stop = walk(root, address)
    guard stop.entry.isPresent else { return nil }
    if access == .write, !stop.entry.isWritable { return nil }
    return page(at: address, stop)
  }

  func page(at address: HostVirtual, _ stop: HostStop) -> HostPage {
    let offset = Mutation.hugePageOffsetLost.isActive ? 0 : address.offset(in: stop.level)
    let assumed = Mutation.followPFNAssumedWritable.isActive && !stop.entry.isCounted
    return HostPage(
      frame: stop.entry.frame + offset >> 12, isWritable: stop.entry.isWritable || assumed,
      content: stop.entry.isCounted ? .memory : .special)
  }

  // MARK: Faulting in

  /// What a fault came to.
  enum Fault {
    case settled(HostLookup)
    /// The page there must be copied before it is written.
    case needsCopy
  }

  /// Makes the page at `address` present for the access, short of copying one.
  func faultIn(_ address: HostVirtual, for access: HostAccess) -> Fault {
    guard address < Self.endAddress else { return .settled(.badAddress) }
    lock()
    defer { unlock() }
    guard let region = regionLocked(containing: address) else { return .settled(.badAddress) }
    switch (region.protection, access) {
    case (.none, _): return .settled(.badAddress)
    case (.readOnly, .write):
      if Mutation.hostProtectionIgnored.isActive { break }
      if case .device = region.backing { return .settled(.readOnly) }
      return .settled(.badAddress)
    case (.readOnly, .read), (.readWrite, _): break
    }
    var stop = walk(root, address)
    if stop.entry.isPoisoned { return .settled(.poisoned) }
    if stop.entry.isSwapped {
      guard bringIn(stop, for: access, in: region) else { return .settled(.refused) }
      stop = walk(root, address)
    }
    if stop.holdsPage, !stop.entry.isPresent {
      // The region's protection came back before the entry's: the page is there all the same.
      host.memory.setEntry(stop.entry.revealed.raw, at: stop.place)
      stop = walk(root, address)
    }
    guard stop.entry.isPresent else { return .settled(install(address, for: access, in: region)) }
    if access == .write, !stop.entry.isWritable {
      guard canWriteInPlace(stop, in: region) else { return .needsCopy }
      let entry = stop.entry.writableAndDirty
      host.memory.setEntry(entry.raw, at: stop.place)
      return .settled(
        .page(page(at: address, HostStop(place: stop.place, entry: entry, level: stop.level))))
    }
    return .settled(.page(page(at: address, stop)))
  }

  /// Whether a page that is mapped read-only may simply become writable (Linux: `wp_page_reuse`).
  private func canWriteInPlace(_ stop: HostStop, in region: HostRegion) -> Bool {
    switch region.backing {
    case .device, .hugePages: return true
    case .file(_, _, .shared): return true
    case .anonymous, .file(_, _, .copyOnWrite):
      guard stop.entry.isCounted else { return false }
      return host.records.kind(of: stop.entry.frame) == .anonymous
        && host.records.mappings(of: stop.entry.frame) == 1
    }
  }

  /// Enters a page where none is, with the lock held.
  private func install(
    _ address: HostVirtual, for access: HostAccess, in region: HostRegion
  ) -> HostLookup {
    switch region.backing {
    case .anonymous(let largest):
      return installAnonymous(address, for: access, in: region, largest)
    case .hugePages(let level):
      return installZeroed(address, level, in: region, .replacingEmptyTables)
        ?? .refused
    case .device(let first):
      let frame = first + (address.pageStart - region.range.lowerBound) >> 12
      return enter(frame, at: address, in: region, [.write, .uncounted])
    case .file(let id, let offset, let sharing):
      return installFile(address, for: access, in: region, id, offset, sharing)
    }
  }

  private func installAnonymous(
    _ address: HostVirtual, for access: HostAccess, in region: HostRegion, _ largest: Level
  ) -> HostLookup {
    var level = largest
    while level > .page4K {
      let start = address.aligned(to: level)
      if region.range.lowerBound <= start, level.byteCount <= region.range.upperBound - start,
        let answer = installZeroed(address, level, in: region, .keepingTables)
      {
        return answer
      }
      guard let below = level.below else { break }
      level = below
    }
    if access == .read {
      let isWritable = Mutation.zeroPageWritable.isActive
      return enter(
        host.zeroFrame, at: address, in: region, isWritable ? [.write, .uncounted] : .uncounted)
    }
    return installZeroed(address, .page4K, in: region, .keepingTables) ?? .refused
  }

  /// What a huge page does where a table already stands.
  enum TablePolicy {
    /// It is not entered: smaller pages may be there.
    case keepingTables
    /// The table, known to be empty, is set aside.
    case replacingEmptyTables
  }

  /// Enters a fresh page of zeros; `nil` when no frame is to be had or smaller pages are there.
  private func installZeroed(
    _ address: HostVirtual, _ level: Level, in region: HostRegion, _ policy: TablePolicy
  ) -> HostLookup? {
    guard let stop = reach(root, address, level), stop.level == level else { return nil }
    let hasTable = stop.entry.isTable(at: level)
    if hasTable, policy == .keepingTables { return nil }
    precondition(hasTable || !stop.entry.isPresent, "a page is entered where none is")
    guard let block = host.allocate(FrameOrder(level), as: .anonymous) else { return nil }
    if !block.isZeroed { fillZero(block.frame, FrameOrder(level)) }
    if hasTable || stop.entry.isSetAside {
      host.records.store(UInt32(truncatingIfNeeded: stop.entry.frame.number) + 1, block.frame, 3)
    }
    addMapping(block.frame)
    let rights: HostEntry.Rights = region.protection == .readWrite ? .write : []
    let entry = HostEntry.page(block.frame, level, rights)
    host.memory.setEntry(entry.raw, at: stop.place)
    return .page(page(at: address, HostStop(place: stop.place, entry: entry, level: level)))
  }

  private func installFile(
    _ address: HostVirtual, for access: HostAccess, in region: HostRegion, _ id: HostFileID,
    _ offset: UInt64, _ sharing: HostFileSharing
  ) -> HostLookup {
    let open = openFile(id)
    let position = offset + (address.pageStart - region.range.lowerBound)
    guard position < open.file.byteCount else { return .badAddress }
    guard let cached = cachedPage(open, position) else { return .refused }
    if sharing == .copyOnWrite, access == .write {
      guard let copy = host.allocate(.page4K, as: .anonymous) else { return .refused }
      host.memory.copyFrame(from: cached, to: copy.frame)
      let answer = enter(copy.frame, at: address, in: region, .write)
      if answer == .refused { host.free(copy.frame) }
      return answer
    }
    return enter(cached, at: address, in: region, sharing == .shared ? .write : [])
  }

  /// The frame of a file's page, read into the page cache if it is not there.
  private func cachedPage(
    _ open: HostAddressSpaceState.OpenFile, _ position: UInt64
  ) -> HostFrame? {
    guard position < 1 << 48, let stop = reach(open.root, HostVirtual(position), .page4K) else {
      return nil
    }
    if stop.entry.isPresent { return stop.entry.frame }
    guard let block = host.allocate(.page4K, as: .file) else { return nil }
    for index in 0..<512 as Range<UInt64> {
      host.memory.setEntry(
        open.file.word(position >> 3 + index), at: block.frame.address + index * 8)
    }
    addMapping(block.frame)
    host.memory.setEntry(HostEntry.page(block.frame, .page4K, []).raw, at: stop.place)
    return block.frame
  }

  /// Enters a 4 KiB page; writable only as far as the region permits.
  private func enter(
    _ frame: HostFrame, at address: HostVirtual, in region: HostRegion, _ wanted: HostEntry.Rights
  ) -> HostLookup {
    guard let stop = reach(root, address, .page4K), stop.level == .page4K else { return .refused }
    var rights = wanted
    if region.protection != .readWrite { rights.remove(.write) }
    if !rights.contains(.uncounted) { addMapping(frame) }
    let entry = HostEntry.page(frame, .page4K, rights)
    host.memory.setEntry(entry.raw, at: stop.place)
    return .page(page(at: address, HostStop(place: stop.place, entry: entry, level: .page4K)))
  }

  /// Fills a block with zeros.
  func fillZero(_ frame: HostFrame, _ order: FrameOrder) {
    for offset in 0..<order.frameCount { host.memory.fillFrame(frame + offset, with: 0) }
  }

  // MARK: Copy on write

  /// Replaces the shared page at `address` by `copy` with the same bytes, writable; the frame that
  /// is left over, if any: the old one without its last mapping, or the copy when it was not
  /// needed.
  func breakCopyOnWrite(at address: HostVirtual, with copy: HostFrame) -> HostFrame? {
    lock()
    defer { unlock() }
    let stop = walk(root, address)
    guard let region = regionLocked(containing: address), region.protection == .readWrite,
      stop.level == .page4K, stop.entry.isPresent, !stop.entry.isWritable,
      !canWriteInPlace(stop, in: region)
    else { return copy }
    if Mutation.copyOnWriteNotBroken.isActive {
      host.memory.setEntry(stop.entry.writableAndDirty.raw, at: stop.place)
      return copy
    }
    let copies = !Mutation.copyOnWriteCopiesNothing.isActive
    if copies { host.memory.copyFrame(from: stop.entry.frame, to: copy) }
    addMapping(copy)
    host.memory.setEntry(HostEntry.page(copy, .page4K, .write).raw, at: stop.place)
    guard stop.entry.isCounted, dropMapping(stop.entry.frame) else { return nil }
    return stop.entry.frame
  }
}
