public import HostMemory
public import MachineEvents
public import PagingUnits

/// The tables that a machine built, and everything that must stay true about them.
///
/// Tables are 4096 bytes in host frames, in the processor's own format. Every change of a present
/// entry goes through one door (`PageTables+Door`), which keeps counts, the host's dirty and
/// accessed marks, tracepoints and retirement in step, and returns the flush that is owed.
///
/// All functions are non-mutating and may run on several threads; which side of the MMU lock a
/// caller holds is said by `Exclusivity`.
public struct PageTables: ~Copyable, Sendable {
  /// The bytes of all tables.
  public let memory: PhysicalMemory
  /// How this machine spells entries.
  public let encoding: EntryEncoding
  /// The rows of all tables.
  public let arena: ShadowPageArena
  /// What only shadow pages have beside their rows.
  public let shadow: ShadowRecords
  /// Where they lie: what only the MMU lock orders stays apart from what is done without it.
  let shadowStore: ShadowRecordStore
  /// Which shadow entries map each frame of the guest's.
  public let maps: ReverseMaps
  /// Which sub-pages of each frame the guest may write.
  public let subpages: SubpageMaps
  /// The machine's statistics.
  public let counters: CounterRow
  /// Readers of tables and memslots.
  public let quiet: QuietPoints
  /// The lock that orders all changes.
  public let lock: MMULock
  /// Where tracepoints go.
  public let tap: EventTap
  /// Who is let in between steps.
  public let interleaver: Interleaver
  /// Who makes processors forget.
  public let flusher: TranslationFlusher

  /// How many tables and readers there can be.
  public struct Limits: Sendable {
    /// The most tables, 1…2^24 - 1.
    public var tables: Int
    /// The most readers: one a virtual processor, and one for the VMM.
    public var readers: Int
    /// Whether any table shadows a guest's.
    public var shadowing: ReverseMaps.Use

    /// Limits in full.
    public init(tables: Int, readers: Int, shadowing: ReverseMaps.Use = .unused) {
      self.tables = tables
      self.readers = readers
      self.shadowing = shadowing
    }
  }

  /// No tables yet, in `memory`.
  public init(
    in memory: PhysicalMemory, encoding: EntryEncoding, limits: Limits, tap: EventTap,
    interleaver: Interleaver, flusher: TranslationFlusher
  ) {
    self.memory = memory
    self.encoding = encoding
    arena = ShadowPageArena(capacity: limits.tables, interleaver: interleaver)
    shadowStore = ShadowRecordStore(capacity: limits.tables, limits.shadowing)
    shadow = shadowStore.records
    maps = ReverseMaps(limits.shadowing, tables: limits.tables)
    subpages = SubpageMaps()
    counters = CounterRow()
    quiet = QuietPoints(readerCount: limits.readers)
    lock = MMULock(interleaver: interleaver)
    self.tap = tap
    self.interleaver = interleaver
    self.flusher = flusher
  }

  /// Whether a cache could be filled as far as a fault may need.
  public enum TopUp: Hashable, Sendable {
    /// The cache holds at least the minimum.
    case ready
    /// The host refused memory (KVM: -ENOMEM).
    case refused
  }

  /// Fills a cache before a fault locks (KVM: `mmu_topup_memory_caches`).
  public func topUp(_ cache: inout TableCache, from host: borrowing HostMemory) -> TopUp {
    guard cache.count < TableCache.minimum else { return .ready }
    while cache.count < TableCache.capacity {
      guard let table = arena.stock(from: host) else {
        return cache.count >= TableCache.minimum ? .ready : .refused
      }
      cache.put(table)
    }
    return .ready
  }

  /// Gives a cache's tables back.
  public func drain(_ cache: inout TableCache, to host: borrowing HostMemory) {
    while cache.count > 0 { arena.free(cache.take(), to: host) }
  }

  /// Takes a table from a cache and says what it is; it is not linked or listed yet.
  public func makeTable(
    from cache: inout TableCache, _ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8
  ) -> ShadowPageID {
    let id = cache.take()
    arena.describe(id, frame, role, generation: generation)
    tap.record(.getPage(record(of: id), .new))
    return id
  }

  /// Puts a table back that lost the race to be linked.
  public func putBack(_ id: ShadowPageID, in cache: inout TableCache) {
    arena.setParentEntry(HostPhysical(0), of: id)
    arena.goBack(id)
    cache.put(id)
  }

  /// The shadow page whose table lies in a frame.
  public func page(of frame: HostFrame, _ host: borrowing HostMemory) -> ShadowPageID {
    let id = ShadowPageID(number: host.owner(of: frame))
    precondition(id != .none, "a linked table's frame points back to its row")
    return id
  }

  /// The shadow page as tracepoints print it.
  public func record(of id: ShadowPageID) -> ShadowPageRecord {
    let row = arena[id]
    return ShadowPageRecord(
      generation: row.generation, frame: row.guestFrame, role: row.role.word,
      rootCount: row.rootReferences,
      unsync: maps.use == .shadowed && !row.role.isDirect && shadow[id].isUnsync)
  }

  /// A table that was unlinked leaves as soon as nobody can see it.
  public func retire(_ id: ShadowPageID) { arena.retire(id, at: quiet.stamp()) }

  /// Frees the retired tables that nobody can see any more.
  public func reclaim(to host: borrowing HostMemory) {
    while let id = arena.takeReclaimable(quiet) { arena.free(id, to: host) }
  }
}
