public import PagingUnits

/// An entry of the host process's page table or of a page cache, decoded for those who check it.
public struct HostTableEntry: Hashable, Sendable {
  /// What the entry says.
  public let meaning: Meaning
  /// The frame of the table or page; frame 0 where the entry names none.
  public let frame: HostFrame
  /// Whether the process may write through it now.
  public let isWritable: Bool
  /// The level of the table that holds it.
  public let level: Level

  /// What an entry says.
  public enum Meaning: Hashable, Sendable {
    /// It points to a table.
    case table
    /// It keeps a table, without pages, for when smaller pages come back.
    case tableSetAside
    /// A page whose record counts this entry.
    case page
    /// A page without such a record: the page of zeros, or a device's.
    case uncountedPage
    /// A page in a frame of the swap area, whose record counts this entry.
    case swapped
    /// A damaged frame.
    case poisoned
    /// No frame belongs to it.
    case other
  }

  init(_ entry: HostEntry, _ level: Level) {
    self.level = level
    if entry.isTable(at: level) {
      meaning = .table
    } else if entry.isSetAside {
      meaning = .tableSetAside
    } else if entry.holdsPage(at: level) {
      meaning = entry.isCounted ? .page : .uncountedPage
    } else if entry.isSwapped {
      meaning = .swapped
    } else {
      meaning = entry.isPoisoned ? .poisoned : .other
    }
    frame = meaning == .other ? HostFrame(0) : entry.frame
    isWritable = entry.isPresent && entry.isWritable
  }
}

/// A page of the host process with the size of the entry that maps it.
public struct HostMapping: Hashable, Sendable {
  /// The 4 KiB at the address that was asked for.
  public let page: HostPage
  /// The level of the entry.
  public let level: Level
}

/// What those who check a machine may look at; no lock, exact while nothing changes.
extension HostAddressSpace {
  /// The page that is mapped at an address, and how large its entry is.
  public func mapping(at address: HostVirtual) -> HostMapping? {
    guard address < Self.endAddress else { return nil }
    let stop = walk(root, address)
    guard stop.entry.isPresent else { return nil }
    return HostMapping(page: page(at: address, stop), level: stop.level)
  }

  /// The first entry, from `first` on, of a table of `level` that is not empty, with its index.
  public func entry(
    of table: HostFrame, _ level: Level, from first: Int
  ) -> (index: Int, entry: HostTableEntry)? {
    guard let index = host.memory.firstEntry(in: table, from: first, unlike: HostEntry.absent.raw)
    else { return nil }
    let word = host.memory.entry(at: table.address + UInt64(index) * 8)
    return (index, HostTableEntry(HostEntry(word), level))
  }

  /// The table that is set aside under a huge page.
  public func tableSetAside(under page: HostFrame) -> HostFrame? {
    let link = host.records.load(page, 3)
    return link == 0 ? nil : HostFrame(UInt64(link - 1))
  }

  /// The top table, of level 4, of the forked copy; `nil` before anything was shared with one.
  public var forkedCopy: HostFrame? {
    lock()
    defer { unlock() }
    // SAFETY: the lock is held.
    return unsafe state.pointee.copyRoot
  }

  /// The top table, of level 4, of each file's page cache; `nil` behind the last file.
  public func pageCache(_ position: Int) -> HostFrame? {
    lock()
    defer { unlock() }
    // SAFETY: the lock is held; rows below the count are initialised.
    guard 0 <= position, unsafe position < state.pointee.fileCount else { return nil }
    return unsafe state.pointee.files[position].root
  }
}
