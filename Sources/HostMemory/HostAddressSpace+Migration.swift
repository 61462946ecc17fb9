import Mutations
public import PagingUnits

extension HostAddressSpace {
  /// Moves the page at `address` to another frame with its contents; the old frame is freed after
  /// the end of the notification (Linux: page migration).
  ///
  /// Every entry that maps the page follows: others of the process, the forked copy's, and the page
  /// cache's. A device's page, the page of zeros and a page with more than 16 mappings stay.
  public func migrate<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard address < Self.endAddress else { return .nothingThere }
    let found = walk(root, address)
    guard found.entry.isPresent else { return .nothingThere }
    guard found.entry.isCounted, let mappings = mappings(of: found, at: address),
      mappings.kind == .anonymous || mappings.kind == .file
    else { return .unsuitable }
    guard let block = host.allocate(FrameOrder(found.level), as: mappings.kind) else {
      return .outOfFrames
    }
    beginChange(of: mappings, telling: notifier)
    let isMoved = move(mappings, to: block.frame)
    endChange(of: mappings, telling: notifier)
    host.free(isMoved ? mappings.frame : block.frame)
    return isMoved ? .done : .unsuitable
  }

  private func move(_ mappings: HostMappings, to frame: HostFrame) -> Bool {
    lock()
    defer { unlock() }
    guard areCurrent(mappings) else { return false }
    let old = mappings.frame
    if !Mutation.migrationForgetsContent.isActive { copyPage(old, to: frame, mappings.level) }
    host.records.store(host.records.load(old, 3), frame, 3)
    host.records.store(0, old, 3)
    for index in 0..<mappings.count {
      let stop = walk(mappings[index].root, mappings[index].address)
      addMapping(frame)
      _ = dropMapping(old)
      host.memory.setEntry(stop.entry.moved(to: frame).raw, at: stop.place)
    }
    return true
  }

  /// Takes the 4 KiB page at `address` out of use because its memory is damaged (Linux:
  /// `memory_failure`).
  ///
  /// Whoever looks it up through one of its mappings is told. A page of a file that nobody changed
  /// is read from the file again instead; a changed one leaves the page cache, and its bytes are
  /// lost to all. A transparent huge page is split first; a device's page, the page of zeros and a
  /// page with more than 16 mappings are `unsuitable`.
  public func poison<Notifier: HostNotifier & ~Copyable>(
    _ address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostChangeOutcome {
    guard address < Self.endAddress else { return .nothingThere }
    let split = splitEnds(
      of: address.pageStart..<(address.pageStart + 4096), telling: notifier)
    guard split == .done else { return split }
    let found = walk(root, address)
    guard found.holdsPage else { return .nothingThere }
    guard found.level == .page4K, found.entry.isCounted,
      let mappings = mappings(of: found, at: address),
      mappings.kind == .anonymous || mappings.kind == .file
    else { return .unsuitable }
    if Mutation.poisonWithoutNotifier.isActive { return takeOut(mappings) ? .done : .unsuitable }
    beginChange(of: mappings, telling: notifier)
    let isOut = takeOut(mappings)
    endChange(of: mappings, telling: notifier)
    return isOut ? .done : .unsuitable
  }

  private func takeOut(_ mappings: HostMappings) -> Bool {
    lock()
    defer { unlock() }
    guard areCurrent(mappings) else { return false }
    let frame = mappings.frame
    let isLost = mappings.kind == .anonymous || host.records.isDirty(frame)
    // SAFETY: the lock is held.
    let copyRoot = unsafe state.pointee.copyRoot
    for index in 0..<mappings.count {
      let tree = mappings[index].root
      let isOfProcess = tree == root || tree == copyRoot
      let stop = walk(tree, mappings[index].address)
      let entry = isLost && isOfProcess ? HostEntry.poison(frame) : .absent
      host.memory.setEntry(entry.raw, at: stop.place)
      _ = dropMapping(frame)
    }
    host.retire(frame, as: .poisoned)
    return true
  }
}
