import PagingUnits

/// A second dimension as straight walks see it, worked out when it changes.
struct SecondMode {
  let dimension: SecondDimension
  let root: UInt64
  let levels: Int
  let isEPT: Bool
  let rules: TableRules
  /// What each use of an address needs.
  let forTable: TableNeed
  private let forRead: TableNeed
  private let forWrite: TableNeed
  private let forFetch: TableNeed
  /// The leaf's dirty bit; 0 where there is none.
  let dirty: UInt64

  init(_ dimension: SecondDimension, _ features: ProcessorFeatures) {
    self.dimension = dimension
    levels = dimension.levels
    isEPT = dimension.isEPT
    rules = isEPT ? TableRules(ept: features) : TableRules(npt: features)
    var read = TableNeed()
    read.none = EntryBits.beyond(features.physicalBits)
    var (write, fetch) = (read, read)
    switch dimension {
    case .none:
      root = 0
      dirty = 0
    case .ept(let eptp):
      root = eptp & EntryBits.address
      let marks = eptp & EPTBits.pointerMarks != 0
      dirty = marks ? EPTBits.dirty : 0
      // Read rights besides, so that no rights without sense are met on the way.
      read.all = marks ? EPTBits.read | EPTBits.accessed : EPTBits.read
      write.all = read.all | EPTBits.write
      fetch.all = read.all | EPTBits.execute
    case .npt(let ncr3, _):
      root = ncr3 & EntryBits.address
      dirty = EntryBits.dirty
      read.all = EntryBits.present | EntryBits.user | EntryBits.accessed
      write.all = read.all | EntryBits.write
      fetch.all = read.all
      fetch.none |= EntryBits.noExecute
    }
    write.leaf = dirty
    forTable = dimension.writes(.read, .table) ? write : read
    forRead = read
    forWrite = write
    forFetch = fetch
  }

  /// What an access of a kind needs.
  @inline(__always) func need(_ kind: AccessKind) -> TableNeed {
    switch kind {
    case .read: forRead
    case .write: forWrite
    case .fetch: forFetch
    }
  }

  /// Whether what is kept of a page serves what needs this of its entries.
  func isGranted(_ need: TableNeed, by rights: SecondRights) -> Bool {
    let write = isEPT ? EPTBits.write : EntryBits.write
    if need.all & write != 0 && !rights.isSuperset(of: [.write, .dirty]) { return false }
    let fetches = isEPT ? need.all & EPTBits.execute != 0 : need.none & EntryBits.noExecute != 0
    return rights.contains(fetches ? .execute : .read)
  }

  /// The rights that a path through it gives.
  @inline(__always) func rights(_ path: StraightPath) -> SecondRights {
    let (all, any) = (path.gathered.all, path.gathered.any)
    let bits =
      isEPT ? all & EPTBits.rights : all & EntryBits.write | (~any &>> 63) &<< 2 | 1
    let rights = SecondRights(rawValue: UInt8(truncatingIfNeeded: bits))
    return path.entry & dirty == dirty ? rights.union(.dirty) : rights
  }
}
