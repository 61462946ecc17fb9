import PagingUnits

/// The entries that map one page: of the process, of its forked copy, and of a file's page cache
/// (Linux: the reverse map).
///
/// No reverse map is kept. For a page with more than one mapping the tables are searched, which
/// only operations do that are rare on the host; a page with more than 16 mappings is not followed.
struct HostMappings {
  /// An entry, named by its tree and its address there: tables may be set aside under a huge page.
  struct Mapping {
    let root: HostFrame
    let address: HostVirtual
  }

  /// The most mappings that are followed.
  static let capacity = 16

  /// The page's first frame.
  let frame: HostFrame
  /// The size of the page.
  let level: Level
  /// What the frame was used for when the search began.
  let kind: FrameKind
  private(set) var count = 0
  private var rows: InlineArray<16, Mapping>

  init(of frame: HostFrame, _ level: Level, _ kind: FrameKind) {
    self.frame = frame
    self.level = level
    self.kind = kind
    rows = InlineArray(repeating: Mapping(root: frame, address: HostVirtual(0)))
  }

  subscript(index: Int) -> Mapping { rows[index] }

  mutating func add(_ mapping: Mapping) {
    precondition(count < Self.capacity, "no more mappings are gathered than are followed")
    rows[count] = mapping
    count += 1
  }
}

extension HostAddressSpace {
  /// Finds the entries that map the page where a walk of the process's table ended; `nil` when
  /// there are too many, or when they changed meanwhile.
  ///
  /// No lock; `areCurrent` tells under the lock whether the answer still holds.
  func mappings(of found: HostStop, at address: HostVirtual) -> HostMappings? {
    let frame = found.entry.frame
    var mappings = HostMappings(of: frame, found.level, host.records.kind(of: frame))
    let wanted = host.records.mappings(of: frame)
    guard 1...UInt32(HostMappings.capacity) ~= wanted else { return nil }
    mappings.add(.init(root: root, address: address.aligned(to: found.level)))
    if wanted == 1 { return mappings }
    search(root, .level4, HostVirtual(0), under: root, until: wanted, &mappings)
    lock()
    // SAFETY: the lock is held.
    let copyRoot = unsafe state.pointee.copyRoot
    let fileCount = unsafe state.pointee.fileCount
    unlock()
    if let copyRoot {
      search(copyRoot, .level4, HostVirtual(0), under: copyRoot, until: wanted, &mappings)
    }
    for index in 0..<fileCount where mappings.kind == .file {
      let file = openFile(HostFileID(index: UInt32(truncatingIfNeeded: index))).root
      search(file, .level4, HostVirtual(0), under: file, until: wanted, &mappings)
    }
    return mappings.count == Int(wanted) ? mappings : nil
  }

  /// Adds the entries of a table, and of those under it, that map the page.
  ///
  /// A table once linked stays a table while the address space lives, so that this may run beside
  /// changes. The recursion is at most four deep.
  private func search(
    _ table: HostFrame, _ level: Level, _ start: HostVirtual, under root: HostFrame,
    until wanted: UInt32, _ mappings: inout HostMappings
  ) {
    for index in 0..<512 as Range<UInt64> {
      if mappings.count == Int(wanted) { return }
      let entry = HostEntry(host.memory.entry(at: table.address + index * 8))
      if entry == .absent { continue }
      let address = HostVirtual(start.raw + index * level.byteCount)
      if entry.isTable(at: level), let below = level.below {
        search(entry.frame, below, address, under: root, until: wanted, &mappings)
      } else if level == mappings.level, entry.holdsPage(at: level), entry.isCounted,
        entry.frame == mappings.frame
      {
        let first = mappings[0]
        if root == first.root, address == first.address { continue }
        mappings.add(.init(root: root, address: address))
      }
    }
  }

  /// Whether the mappings found are still all the mappings of the page; with the lock held.
  func areCurrent(_ mappings: HostMappings) -> Bool {
    for index in 0..<mappings.count {
      let stop = walk(mappings[index].root, mappings[index].address)
      guard stop.holdsPage, stop.level == mappings.level, stop.entry.isCounted,
        stop.entry.frame == mappings.frame
      else { return false }
    }
    return host.records.kind(of: mappings.frame) == mappings.kind
      && host.records.mappings(of: mappings.frame) == UInt32(mappings.count)
  }

  /// The notifier's half of a change of every mapping: one pair for each entry of the process; the
  /// copy and the page cache have no listener.
  func beginChange<Notifier: HostNotifier & ~Copyable>(
    of mappings: HostMappings, telling notifier: borrowing Notifier
  ) {
    for index in 0..<mappings.count where mappings[index].root == root {
      notifier.invalidateRangeStart(range(of: mappings, index))
    }
  }

  /// Ends what `beginChange` began.
  func endChange<Notifier: HostNotifier & ~Copyable>(
    of mappings: HostMappings, telling notifier: borrowing Notifier
  ) {
    for index in 0..<mappings.count where mappings[index].root == root {
      notifier.invalidateRangeEnd(range(of: mappings, index))
    }
  }

  private func range(of mappings: HostMappings, _ index: Int) -> Range<HostVirtual> {
    let start = mappings[index].address
    return start..<(start + mappings.level.byteCount)
  }

  /// Writes a page's bytes and marks to another block of its size; with the lock held.
  func copyPage(_ old: HostFrame, to new: HostFrame, _ level: Level) {
    for offset in 0..<FrameOrder(level).frameCount {
      host.memory.copyFrame(from: old + offset, to: new + offset)
    }
    if host.records.isDirty(old) { host.records.markDirty(new) }
    if host.records.isAccessed(old) { host.records.markAccessed(new) }
  }
}
