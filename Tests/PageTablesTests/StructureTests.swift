import HostMemory
import MachineEvents
import PagingUnits
import SparseMemory
import Testing

@testable import PageTables

/// A host and an empty set of tables over it.
struct Workbench: ~Copyable {
  let buffer: SparseBuffer
  let recordBuffer: SparseBuffer
  let host: HostMemory
  let tables: PageTables

  init(tables limit: Int = 64, hostFrames: UInt64 = 4096) throws {
    let buffer = try SparseBuffer(byteCount: hostFrames << 12)
    let bytes = FrameRecords.byteCount(forFrames: hostFrames)
    let recordBuffer = try SparseBuffer(byteCount: (bytes + 0xFFF) & ~0xFFF)
    // SAFETY: the buffer outlives the host, which this structure owns beside it.
    let records = unsafe FrameRecords(base: recordBuffer.unsafeBase, frameCount: hostFrames)
    self.buffer = buffer
    self.recordBuffer = recordBuffer
    host = HostMemory(memory: buffer.memory, records: records)
    tables = PageTables(
      in: buffer.memory,
      encoding: .ept(accessedDirty: .present, executeOnly: .present, physicalBits: 46),
      limits: PageTables.Limits(tables: limit, readers: 2), tap: EventTap(),
      interleaver: Interleaver(), flusher: TranslationFlusher())
  }
}

private let rootRole = ShadowPageRole.directRoot(
  level: .level4, space: .normal, accessedDirty: .enabled)

@Suite("Rows, paths, quiet points and debts")
struct StructureTests {
  @Test("a role has the kernel's layout")
  func roleLayout() {
    // Level 4, direct, all rights, NX and WP: 0x3784.
    #expect(rootRole.word == 0x3784)
    #expect(rootRole.child().level == .page1G)
    let smm = ShadowPageRole.directRoot(
      level: .level5, space: .systemManagement, accessedDirty: .disabled)
    #expect(smm.word == 0x0101_3785)
    #expect(smm.space == .systemManagement && smm.accessedDirty == .disabled)
  }

  @Test("a page is found by its frame and its whole role, and by nothing less")
  func lookUp() throws {
    let bench = try Workbench()
    var cache = TableCache()
    #expect(bench.tables.topUp(&cache, from: bench.host) == .ready)
    let id = bench.tables.makeTable(from: &cache, GuestFrame(0), rootRole, generation: 0)
    bench.tables.arena.enlist(id)
    #expect(bench.tables.arena.find(GuestFrame(0), rootRole, generation: 0).page == id)
    #expect(bench.tables.arena.find(GuestFrame(0), rootRole, generation: 1).page == nil)
    #expect(bench.tables.arena.find(GuestFrame(1), rootRole, generation: 0).page == nil)
    let other = ShadowPageRole.directRoot(
      level: .level5, space: .normal, accessedDirty: .enabled)
    #expect(bench.tables.arena.find(GuestFrame(0), other, generation: 0).page == nil)
    bench.tables.arena.delist(id)
    #expect(bench.tables.arena.find(GuestFrame(0), rootRole, generation: 0).page == nil)
    bench.tables.retire(id)
    bench.tables.drain(&cache, to: bench.host)
    bench.tables.reclaim(to: bench.host)
    #expect(bench.tables.arena.tableCount == 0)
    #expect(bench.host.frames(.table) == 0)
  }

  @Test("a table's frame points back to its row and starts empty")
  func backPointers() throws {
    let bench = try Workbench()
    var cache = TableCache()
    _ = bench.tables.topUp(&cache, from: bench.host)
    let id = bench.tables.makeTable(from: &cache, GuestFrame(512), rootRole, generation: 0)
    let frame = bench.tables.arena[id].frame
    #expect(bench.tables.page(of: frame, bench.host) == id)
    for index in 0..<512 {
      let word = bench.tables.memory.entry(at: frame.address + UInt64(index) * 8)
      #expect(SPTE(raw: word) == .nonpresent)
    }
    bench.tables.arena.goLive(id)
    bench.tables.putBack(id, in: &cache)
    bench.tables.drain(&cache, to: bench.host)
    #expect(bench.host.frames(.table) == 0)
  }

  @Test("a refused allocation leaves the cache short and loses nothing", arguments: 1...20)
  func refusals(nth: Int) throws {
    let bench = try Workbench()
    bench.host.refuse(.every(UInt64(nth)))
    var cache = TableCache()
    let outcome = bench.tables.topUp(&cache, from: bench.host)
    #expect(outcome == (nth > TableCache.minimum ? .ready : .refused))
    #expect(cache.count == min(nth - 1, TableCache.capacity))
    bench.tables.drain(&cache, to: bench.host)
    #expect(bench.host.frames(.table) == 0)
  }

  @Test("no more tables are made than the arena has rows for")
  func capacity() throws {
    let bench = try Workbench(tables: 3)
    var cache = TableCache()
    #expect(bench.tables.topUp(&cache, from: bench.host) == .refused)
    #expect(cache.count == 3)
    bench.tables.drain(&cache, to: bench.host)
    #expect(bench.tables.topUp(&cache, from: bench.host) == .refused)
    #expect(cache.count == 3)
    bench.tables.drain(&cache, to: bench.host)
  }

  @Test("what is retired while somebody looks stays until the look ends")
  func quietPoints() throws {
    let bench = try Workbench()
    var cache = TableCache()
    _ = bench.tables.topUp(&cache, from: bench.host)
    let id = bench.tables.makeTable(from: &cache, GuestFrame(0), rootRole, generation: 0)
    bench.tables.arena.goLive(id)
    bench.tables.drain(&cache, to: bench.host)
    bench.tables.quiet.enter(1)
    bench.tables.retire(id)
    bench.tables.reclaim(to: bench.host)
    #expect(bench.host.frames(.table) == 1)
    // A look that begins afterwards cannot see the table and does not hold it.
    bench.tables.quiet.enter(0)
    bench.tables.quiet.leave(1)
    bench.tables.reclaim(to: bench.host)
    #expect(bench.host.frames(.table) == 0)
    bench.tables.quiet.leave(0)
  }

  @Test("a path visits what was linked, in order, and nothing else")
  func pathOrder() throws {
    let bench = try Workbench()
    var cache = TableCache()
    _ = bench.tables.topUp(&cache, from: bench.host)
    let root = bench.tables.makeTable(from: &cache, GuestFrame(0), rootRole, generation: 0)
    let below = bench.tables.makeTable(
      from: &cache, GuestFrame(1 << 27), rootRole.child(), generation: 0)
    bench.tables.arena.goLive(root)
    bench.tables.arena.goLive(below)
    let (memory, encoding) = (bench.tables.memory, bench.tables.encoding)
    let entry = encoding.table(bench.tables.arena[below].frame, accessedDirty: .enabled)
    memory.setEntry(entry.raw, at: bench.tables.arena[root].frame.address + 8)
    var path = EntryPath(
      in: bench.tables, root: bench.tables.arena[root].frame, level: .level4, space: .normal,
      frame: GuestFrame(0))
    var visited: [(Level, GuestFrame)] = []
    repeat { visited.append((path.level, path.frame)) } while path.advance()
    #expect(visited.count == 1024)
    #expect(visited[0] == (.level4, GuestFrame(0)))
    #expect(visited[1] == (.level4, GuestFrame(1 << 27)))
    #expect(visited[2] == (.page1G, GuestFrame(1 << 27)))
    #expect(visited[513] == (.page1G, GuestFrame(1 << 27 | 511 << 18)))
    #expect(visited[514] == (.level4, GuestFrame(2 << 27)))
    for id in [root, below] { bench.tables.retire(id) }
    bench.tables.drain(&cache, to: bench.host)
    bench.tables.reclaim(to: bench.host)
  }

  @Test("a debt grows to the smallest range that holds what is owed, and is paid once")
  func debts() {
    final class Log: @unchecked Sendable { var ranges: [Range<UInt64>] = [] }
    let log = Log()
    let flusher = unsafe TranslationFlusher(
      context: Unmanaged.passUnretained(log).toOpaque(),
      hook: { context, first, count in
        let log = unsafe Unmanaged<Log>.fromOpaque(context).takeUnretainedValue()
        log.ranges.append(first..<first + count)
      })
    var debt = PendingFlush()
    debt.owe(GuestFrame(0x203), .page4K)
    debt.owe(GuestFrame(0x7FF), .page2M)
    debt.add(PendingFlush(GuestFrame(5), .page4K))
    debt.pay(flusher)
    PendingFlush().pay(flusher)
    #expect(log.ranges == [5..<0x800])
  }

  @Test("dropping a debt traps")
  func droppedDebt() async {
    await #expect(processExitsWith: .failure) {
      _ = PendingFlush(GuestFrame(0), .page4K)
    }
  }

  @Test("readers share the lock, a writer has it alone, and a waiting writer holds readers back")
  func lockSides() {
    let lock = MMULock(interleaver: Interleaver())
    lock.lockShared()
    lock.lockShared()
    lock.unlockShared()
    lock.unlockShared()
    lock.lockExclusive()
    lock.unlockExclusive()
    lock.lockShared()
    lock.unlockShared()
  }
}
