public import PagingUnits

/// Where a walk of the host's table ended.
struct HostStop {
  /// Where the entry stands.
  let place: HostPhysical
  /// What it says.
  let entry: HostEntry
  /// Its level.
  let level: Level

  var holdsPage: Bool { entry.holdsPage(at: level) }
}

extension HostAddressSpace {
  /// The level of the host mapping at `address`: 4 KiB when nothing is mapped (KVM:
  /// `host_pfn_mapping_level`).
  ///
  /// No lock.
  public func mappingLevel(at address: HostVirtual) -> Level {
    let stop = walk(root, address)
    return stop.entry.isPresent ? stop.level : .page4K
  }

  func place(_ table: HostFrame, _ address: HostVirtual, _ level: Level) -> HostPhysical {
    let index = (address.raw &>> (12 &+ 9 &* UInt64(level.depth &- 1))) & 511
    return HostPhysical(table.number << 12 | index << 3)
  }

  /// Walks down to the first entry that does not point to a table.
  ///
  /// No lock.
  func walk(_ root: HostFrame, _ address: HostVirtual) -> HostStop {
    var table = root
    var level = Level.level4
    while true {
      let place = place(table, address, level)
      let entry = HostEntry(host.memory.entry(at: place))
      guard entry.isTable(at: level), let below = level.below else {
        return HostStop(place: place, entry: entry, level: level)
      }
      table = entry.frame
      level = below
    }
  }

  /// Walks down to `goal`, making the tables that are missing; ends earlier at a page or a
  /// poisoned entry, and is `nil` when a table was refused.
  ///
  /// With the lock held.
  func reach(_ root: HostFrame, _ address: HostVirtual, _ goal: Level) -> HostStop? {
    var table = root
    var level = Level.level4
    while true {
      let place = place(table, address, level)
      let entry = HostEntry(host.memory.entry(at: place))
      guard level > goal, let below = level.below else {
        return HostStop(place: place, entry: entry, level: level)
      }
      if entry.isTable(at: level) {
        table = entry.frame
      } else if entry.isSetAside {
        table = entry.frame
        host.memory.setEntry(HostEntry.table(table).raw, at: place)
      } else if entry == .absent {
        guard let new = allocateHostTable() else { return nil }
        table = new
        host.memory.setEntry(HostEntry.table(table).raw, at: place)
      } else {
        return HostStop(place: place, entry: entry, level: level)
      }
      level = below
    }
  }

  /// A table of zeros.
  func allocateHostTable() -> HostFrame? {
    guard let block = host.allocate(.page4K, as: .hostTable) else { return nil }
    if !block.isZeroed { host.memory.fillFrame(block.frame, with: 0) }
    return block.frame
  }

  /// Frees a table, the tables under it and the pages they map or name in the swap area.
  ///
  /// No other thread may know them. The recursion is at most four deep: one level of the host's
  /// table each time.
  func freeTree(_ table: HostFrame, _ level: Level) {
    for index in 0..<512 as Range<UInt64> {
      let entry = HostEntry(host.memory.entry(at: table.address + index * 8))
      if entry == .absent { continue }
      if entry.isTable(at: level) || entry.isSetAside {
        guard let below = level.below else { continue }
        freeTree(entry.frame, below)
      } else if entry.holdsPage(at: level) {
        freeMapped(entry, level)
      } else if entry.isSwapped, dropMapping(entry.frame) {
        host.free(entry.frame)
      }
    }
    host.free(table)
  }

  private func freeMapped(_ entry: HostEntry, _ level: Level) {
    guard entry.isCounted else { return }
    let records = host.records
    let aside = records.load(entry.frame, 3)
    if aside != 0, let below = level.below { freeTree(HostFrame(UInt64(aside - 1)), below) }
    if dropMapping(entry.frame) { host.free(entry.frame) }
  }

  // MARK: Counting mappings, with the lock held

  /// One entry more maps the page that starts at `frame`.
  func addMapping(_ frame: HostFrame) {
    host.records.store(host.records.load(frame, 2) + 1, frame, 2)
  }

  /// One entry less maps the page that starts at `frame`; whether it was the last.
  func dropMapping(_ frame: HostFrame) -> Bool {
    let count = host.records.load(frame, 2)
    precondition(count > 0, "a page that is mapped has a mapping count")
    host.records.store(count - 1, frame, 2)
    return count == 1
  }
}
