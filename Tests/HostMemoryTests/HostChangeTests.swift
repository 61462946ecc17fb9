import HostMemory
import PagingUnits
import SparseMemory
import Testing

@Suite struct HostChangeTests {
  @Test("a page that moves keeps its bytes and marks, and its old frame goes after the end")
  func migrate() throws {
    for level in [Level.page4K, .page2M] {
      try withProcess { space in
        let start = try space.anonymous(2 << 20, largest: level)
        let place = start + 0x3008
        #expect(space.poke(77, at: place) == .complete)
        let old = try need(space.lookUpMapped(place, for: .write))
        let recorder = Recorder()
        var seen: [UInt64] = []
        let records = space.host.records
        let head = old.frame.aligned(to: level)
        recorder.onStart = { _ in seen.append(UInt64(records.mappings(of: head))) }
        recorder.onEnd = { _ in seen.append(records.kind(of: head) == .anonymous ? 10 : 20) }
        let outcome = space.migrate(place, telling: recorder)
        #expect(outcome == .done)
        #expect(seen == [1, 10], "the old frame is in use until the end was told")
        let first = place.aligned(to: level)
        #expect(recorder.starts == [first..<(first + level.byteCount)])
        let new = try need(space.lookUpMapped(place, for: .write))
        #expect(new.frame != old.frame && records.isDirty(new.frame))
        #expect(records.kind(of: head) != .anonymous)
        #expect(space.peek(place) == 77)
      }
    }
  }

  @Test("merged pages share a frame until one is written")
  func merge() throws {
    try withProcess { space in
      let start = try space.anonymous(3 << 12)
      let other = start + 4096
      for address in [start, other] { #expect(space.poke(5, at: address) == .complete) }
      #expect(space.poke(6, at: start + 8192) == .complete)
      let different = space.merge(start + 8192, into: start, telling: Unnotified())
      #expect(different == .unsuitable)
      let recorder = Recorder()
      let outcome = space.merge(other, into: start, telling: recorder)
      #expect(outcome == .done)
      #expect(recorder.starts.count == 2 && recorder.open.isEmpty)
      let one = try need(space.lookUp(start, for: .read, telling: recorder).page)
      let two = try need(space.lookUp(other, for: .read, telling: recorder).page)
      #expect(one == two && !one.isWritable)
      let left = space.host.frames(.anonymous)
      #expect(left == 2)
      let moved = space.migrate(start, telling: recorder)
      #expect(moved == .done)
      let both = [start, other].map { space.lookUpMapped($0, for: .read)?.frame }
      #expect(both[0] == both[1] && both[0] != one.frame, "both entries follow")
      #expect(space.poke(9, at: other, telling: recorder) == .complete)
      #expect(space.peek(start) == 5)
      #expect(space.peek(other) == 9)
      // The last one left simply becomes writable again.
      let count = recorder.events.count
      let again = try need(space.lookUp(start, for: .write, telling: recorder).page)
      #expect(again.frame == both[0] && recorder.events.count == count)
    }
  }

  @Test("a right taken away is gone at once and comes back with the next write")
  func protect() throws {
    try withProcess { space in
      let start = try space.anonymous(4 << 20, largest: .page2M)
      let middle = start + 0x5000
      #expect(space.poke(1, at: middle) == .complete)
      let recorder = Recorder()
      try space.protect(middle..<(middle + 4096), .readOnly, telling: recorder)
      #expect(recorder.open.isEmpty)
      #expect(recorder.starts.last == middle..<(middle + 4096))
      #expect(space.mappingLevel(at: middle) == .page4K, "a huge page is split where it is cut")
      let refused = space.lookUp(middle, for: .write, telling: recorder)
      #expect(refused == .badAddress)
      let page = try need(space.lookUp(middle, for: .read, telling: recorder).page)
      #expect(!page.isWritable)
      #expect(space.poke(2, at: middle + 4096) == .complete)
      try space.protect(middle..<(middle + 4096), .none, telling: recorder)
      #expect(space.peek(middle) == nil)
      try space.protect(start..<(start + (4 << 20)), .readWrite, telling: recorder)
      let back = try need(space.lookUp(middle, for: .write, telling: recorder).page)
      #expect(back.frame == page.frame && back.isWritable)
      #expect(space.peek(middle) == 1)
      do throws(HostRegionError) {
        try space.protect(start..<(start + (5 << 20)), .readOnly, telling: recorder)
        Issue.record("addresses without a region were protected")
      } catch {
        #expect(error == .absent(start + (4 << 20)))
      }
      #expect(space.lookUpMapped(middle, for: .write) != nil)
    }
  }

  @Test("splitting and gathering a huge page changes its size and nothing else")
  func splitAndCollapse() throws {
    try withProcess { space in
      let start = try space.anonymous(2 << 30, largest: .page1G)
      let place = start + 0x40_3000
      #expect(space.poke(3, at: place) == .complete)
      let first = try need(space.lookUpMapped(place, for: .read))
      let recorder = Recorder()
      for level in [Level.page2M, .page4K] {
        let outcome = space.split(at: place, telling: recorder)
        #expect(outcome == .done)
        #expect(space.mappingLevel(at: place) == level)
      }
      #expect(space.mappingLevel(at: start) == .page2M)
      let small = try need(space.lookUpMapped(place, for: .read))
      #expect(small.frame == first.frame, "a split moves nothing")
      let nothing = space.split(at: place, telling: recorder)
      #expect(nothing == .nothingThere)
      // A hole, a page of zeros and a page with bytes become one.
      let dropped = space.unmap((place + 4096)..<(place + 8192), telling: recorder)
      #expect(dropped == .done)
      _ = space.lookUp(place + 4096, for: .read, telling: recorder)
      let gathered = space.collapse(at: place, to: .page2M, telling: recorder)
      #expect(gathered == .done)
      #expect(space.mappingLevel(at: place) == .page2M)
      #expect(space.peek(place) == 3)
      #expect(space.peek(place + 4096) == 0)
      let counts = space.host.frames(.anonymous)
      #expect(counts == 1 << 18)
      // The table that made way is used again.
      let tables = space.host.frames(.hostTable)
      let again = space.split(at: place, telling: recorder)
      #expect(again == .done)
      let tablesNow = space.host.frames(.hostTable)
      #expect(tablesNow == tables)
      #expect(recorder.open.isEmpty)
      #expect(space.peek(place) == 3)
    }
  }

  @Test("a damaged page is reported and its frame never used again")
  func poison() throws {
    try withProcess(leaving: { $0.frames(.poisoned) == 1 && hasNoPages($0) }) { space in
      let start = try space.anonymous(2 << 20, largest: .page2M)
      #expect(space.poke(3, at: start) == .complete)
      let recorder = Recorder()
      let outcome = space.poison(start + 0x7000, telling: recorder)
      #expect(outcome == .done)
      #expect(recorder.starts.last == (start + 0x7000)..<(start + 0x8000))
      let answer = space.lookUp(start + 0x7010, for: .read, telling: recorder)
      #expect(answer == .poisoned)
      #expect(space.peek(start) == 3)
      let gathered = space.collapse(at: start, to: .page2M, telling: recorder)
      #expect(gathered == .unsuitable)
    }
  }

  @Test("a page is young when the host or the listener used it")
  func age() throws {
    try withProcess { space in
      let start = try space.anonymous(8192)
      #expect(space.poke(1, at: start) == .complete)
      let recorder = Recorder()
      let range = start..<(start + 8192)
      let answers = [
        space.age(range, .test, telling: recorder),
        space.age(range, .clearAndFlush, telling: recorder),
        space.age(range, .clear, telling: recorder),
      ]
      #expect(answers == [true, true, false])
      recorder.isYoung = true
      let guest = space.age(range, .test, telling: recorder)
      #expect(guest)
    }
  }

  @Test("a copy that somebody else made meanwhile is used, and the second one given back")
  func needlessCopy() throws {
    let arena = try TestArena(frames: 4096)
    defer { withExtendedLifetime(arena) {} }
    let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
    let shared = SendableSpace(try HostAddressSpace(sharing: host))
    let start = try shared.space.anonymous(4096)
    _ = shared.space.lookUp(start, for: .read, telling: Unnotified())
    // The host calls with none of its locks held, so that the listener may look pages up itself.
    let recorder = Recorder()
    var found: HostPage?
    recorder.onStart = { _ in
      found = shared.space.lookUp(start, for: .write, telling: Unnotified()).page
    }
    let page = try need(shared.space.lookUp(start, for: .write, telling: recorder).page)
    #expect(page == found)
    let used = host.frames(.anonymous)
    #expect(used == 1)
  }

  @Test("a write that finds its copy refused leaves the page shared and tells nobody")
  func refusedCopy() throws {
    try withProcess { space in
      let start = try space.anonymous(4096)
      let recorder = Recorder()
      _ = space.lookUp(start, for: .read, telling: recorder)
      space.host.refuse(.from(1))
      let answer = space.lookUp(start, for: .write, telling: recorder)
      #expect(answer == .refused)
      #expect(recorder.events.isEmpty)
    }
  }
}
