import HostMemory
import PagingUnits
import SparseMemory
import Testing

@Suite struct HostMemoryTests {
  @Test("a table's frame knows its owner until it is given back")
  func owners() throws {
    try withHost(frames: 64) { host in
      let table = try need(host.allocateTable(owner: 7))
      #expect(host.owner(of: table) == 7)
      host.setOwner(9, of: table)
      #expect(host.owner(of: table) == 9)
      #expect(host.frames(.table) == 1)
      host.freeTable(table)
      #expect(host.frames(.table) == 0)
      #expect(host.records.kind(of: table) != .table)
    }
  }

  @Test("the page of zeros and the devices' frames are never handed out")
  func reserved() throws {
    var options = HostMemory.Options()
    options.deviceFrames = 3
    try withHost(frames: 16, options) { host in
      var tables: Set<UInt64> = []
      while let table = host.allocateTable(owner: 0) { tables.insert(table.number) }
      #expect(tables == Set(1...12))
      #expect(host.deviceFrames == HostFrame(13)..<HostFrame(16))
      #expect(host.frames(.free) == 0)
    }
  }

  @Test("tables stop at their limit and go on when one is given back")
  func limit() throws {
    var options = HostMemory.Options()
    options.tableLimit = 2
    try withHost(frames: 64, options) { host in
      let first = try need(host.allocateTable(owner: 1))
      #expect(host.allocateTable(owner: 2) != nil)
      #expect(host.allocateTable(owner: 3) == nil)
      host.freeTable(first)
      #expect(host.allocateTable(owner: 4) != nil)
    }
  }

  @Test(
    "allocations are refused by their number",
    arguments: zip(
      [RefusalPolicy.never, .once(2), .from(3), .every(2)],
      [
        [true, true, true, true], [true, false, true, true], [true, true, false, false],
        [true, false, true, false],
      ]))
  func refusals(policy: RefusalPolicy, expected: [Bool]) throws {
    try withHost(frames: 64) { host in
      _ = host.allocateTable(owner: 0)
      host.refuse(policy)
      #expect((0..<4).map { _ in host.allocateTable(owner: 0) != nil } == expected)
      #expect(host.allocationCount == 4)
    }
  }

  @Test("a share keeps the host's accounts when the first owner is gone")
  func shares() throws {
    let arena = try TestArena(frames: 64)
    defer { withExtendedLifetime(arena) {} }
    func lend() -> HostMemory {
      let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
      _ = host.allocateTable(owner: 5)
      return host.share()
    }
    let share = lend()
    #expect(share.frames(.table) == 1)
  }

  @Test("marks belong to the whole page, also when it is huge")
  func marks() throws {
    try withProcess { space in
      let start = try space.anonymous(4 << 20, largest: .page2M)
      let page = try need(space.lookUp(start, for: .write, telling: Unnotified()).page)
      let records = space.host.records
      #expect(!records.isDirty(page.frame) && !records.isAccessed(page.frame))
      records.markDirty(page.frame + 300)
      records.markAccessed(page.frame + 511)
      #expect(records.isDirty(page.frame) && records.isAccessed(page.frame + 5))
      #expect(records.clearAccessed(page.frame + 1))
      #expect(!records.isAccessed(page.frame + 511) && records.isDirty(page.frame + 511))
      // A device beyond memory has no record, and nothing happens.
      records.markDirty(HostFrame(1 << 40))
      #expect(!records.isDirty(HostFrame(1 << 40)))
    }
  }

  @Test("scattered pages are no neighbours and stay in their span")
  func scatter() throws {
    var options = HostMemory.Options()
    options.scatter = .scattered(frames: 1 << 14, seed: 3)
    try withProcess(frames: 1 << 16, options) { space in
      let start = try space.anonymous(1 << 24)
      var frames: [UInt64] = []
      for index in 0..<4096 as Range<UInt64> {
        let page = space.lookUp(start + index << 12, for: .write, telling: Unnotified()).page
        frames.append(try #require(page).frame.number)
      }
      #expect(Set(frames).count == 4096)
      #expect(frames.allSatisfy { $0 < 1 << 14 })
      let neighbours = zip(frames, frames.dropFirst()).count { $0 + 1 == $1 }
      #expect(neighbours == 0)
    }
  }

  @Test("threads that allocate and free at once lose and share no frame")
  func threads() async throws {
    let arena = try TestArena(frames: 4096)
    defer { withExtendedLifetime(arena) {} }
    let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
    let free = host.frames(.free)
    await withTaskGroup(of: Bool.self) { group in
      for thread in 0..<4 as Range<UInt32> {
        let share = SendableHost(host.share())
        group.addTask {
          var mine: [HostFrame] = []
          for step in 0..<4000 {
            if step % 3 == 2, let frame = mine.popLast() {
              guard share.host.owner(of: frame) == thread else { return false }
              share.host.freeTable(frame)
            } else if let frame = share.host.allocateTable(owner: thread) {
              mine.append(frame)
            }
          }
          for frame in mine {
            guard share.host.owner(of: frame) == thread else { return false }
            share.host.freeTable(frame)
          }
          return true
        }
      }
      for await isRight in group { #expect(isRight) }
    }
    #expect(host.frames(.free) == free)
  }
}

final class SendableHost: Sendable {
  let host: HostMemory
  init(_ host: consuming HostMemory) { self.host = host }
}
