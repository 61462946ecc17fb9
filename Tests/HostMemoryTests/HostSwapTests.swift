import HostMemory
import PagingUnits
import SparseMemory
import Testing

@Suite struct HostSwapTests {
  @Test("a page swapped out keeps its bytes, and its frame is soon another's")
  func swap() throws {
    try withProcess { space in
      let start = try space.anonymous(3 << 12)
      check(space.poke(7, at: start + 0xFF8) == .complete)
      let old = try need(space.lookUpMapped(start, for: .read)).frame
      let recorder = Recorder()
      let out = space.swapOut(start, telling: recorder)
      check(out == .done)
      check(recorder.starts == [start..<(start + 4096)] && recorder.open.isEmpty)
      let accounts = [space.host.frames(.anonymous), space.host.frames(.swapped)]
      check(accounts == [0, 1])
      check(space.word(at: start + 0xFF8) == 7)
      guard case .frame(let place) = space.content(at: start) else { throw Missing(line: #line) }
      check(place != old && space.host.records.kind(of: place) == .swapped)
      check(space.poke(9, at: start + 0x1FF8) == .complete)
      let reused = space.lookUpMapped(start + 4096, for: .read)?.frame
      check(reused == old, "whoever still uses the old frame sees other bytes")
      let events = recorder.events.count
      check(space.peek(start + 0xFF8, telling: recorder) == 7)
      check(recorder.events.count == events, "coming back tells nobody")
      let left = space.host.frames(.swapped)
      check(left == 0)
      let again = space.swapIn(start)
      check(again == .nothingThere)
    }
  }

  @Test("the listener is told before the page goes and after it has gone")
  func order() throws {
    let arena = try TestArena(frames: 4096)
    defer { withExtendedLifetime(arena) {} }
    let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
    let shared = SendableSpace(try HostAddressSpace(sharing: host))
    let start = try shared.space.anonymous(4096)
    let old = shared.space.lookUp(start, for: .write, telling: Unnotified()).page?.frame
    let recorder = Recorder()
    var seen: [HostFrame?] = []
    // No lock is held while the listener looks.
    recorder.onStart = { _ in
      seen.append(shared.space.lookUpMapped(start, for: .write)?.frame)
      _ = shared.space.word(at: start)
    }
    recorder.onEnd = { _ in
      seen.append(shared.space.lookUpMapped(start, for: .read)?.frame)
      seen.append(
        old.map { shared.space.host.records.kind(of: $0) == .anonymous ? $0 : HostFrame(0) })
    }
    let outcome = shared.space.swapOut(start, telling: recorder)
    #expect(outcome == .done)
    #expect(seen == [old, nil, old], "the old frame is freed after the end")
  }

  @Test("a page swapped in for a read is entered read-only and written in place")
  func readThenWrite() throws {
    try withProcess { space in
      let start = try space.anonymous(4096)
      check(space.poke(7, at: start) == .complete)
      let recorder = Recorder()
      _ = space.swapOut(start, telling: recorder)
      let page = try need(space.lookUp(start, for: .read, telling: recorder).page)
      check(!page.isWritable)
      let events = recorder.events.count
      let written = try need(space.lookUp(start, for: .write, telling: recorder).page)
      check(written.frame == page.frame && recorder.events.count == events)
      _ = space.swapOut(start, telling: recorder)
      let direct = try need(space.lookUp(start, for: .write, telling: recorder).page)
      check(direct.isWritable)
    }
  }

  @Test("what cannot be swapped says so")
  func unsuitable() throws {
    var options = HostMemory.Options()
    options.deviceFrames = 1
    try withProcess(options) { space in
      let empty = try space.anonymous(4096)
      let nothing = space.swapOut(empty, telling: Unnotified())
      check(nothing == .nothingThere)
      _ = space.lookUp(empty, for: .read, telling: Unnotified())
      let zeros = space.swapOut(empty, telling: Unnotified())
      check(zeros == .nothingThere)
      let huge = try space.add(.init(byteCount: 2 << 20, backing: .hugePages(.page2M)))
      let small = try space.add(.init(byteCount: 4096, backing: .hugePages(.page4K)))
      let device = try space.add(
        .init(
          byteCount: 4096, backing: .device(firstFrame: space.host.deviceFrames.lowerBound)))
      for address in [huge, small, device] {
        check(space.poke(1, at: address) == .complete)
        let outcome = space.swapOut(address, telling: Unnotified())
        check(outcome == .unsuitable)
        check(space.peek(address) == 1)
      }
      let outside = space.swapOut(HostVirtual(.max), telling: Unnotified())
      check(outside == .nothingThere)
    }
  }

  @Test("shared huge-page memory never merges, whatever the page size")
  func hugePagesDoNotMerge() throws {
    try withProcess { space in
      let start = try space.add(.init(byteCount: 8192, backing: .hugePages(.page4K)))
      for page in [start, start + 4096] { check(space.poke(1, at: page) == .complete) }
      let outcome = space.merge(start + 4096, into: start, telling: Unnotified())
      check(outcome == .unsuitable)
      let shared = space.shareForCopy(start..<(start + 8192), telling: Unnotified())
      check(shared == .nothingThere)
    }
  }

  @Test("merged pages are swapped together and come back apart, each with the bytes")
  func swapMerged() throws {
    try withProcess { space in
      let start = try space.anonymous(3 << 12)
      for page in 0..<3 as Range<UInt64> {
        check(space.poke(5, at: start + page << 12) == .complete)
      }
      for page in 1..<3 as Range<UInt64> {
        _ = space.merge(start + page << 12, into: start, telling: Unnotified())
      }
      let recorder = Recorder()
      let out = space.swapOut(start + 4096, telling: recorder)
      check(out == .done && recorder.starts.count == 3 && recorder.open.isEmpty)
      let swapped = space.host.frames(.swapped)
      check(swapped == 1 && HostAudit.faults(space) == [])
      check(space.poke(6, at: start) == .complete)
      let still = space.host.frames(.swapped)
      check(still == 1 && HostAudit.faults(space) == [])
      let words = [0, 4096, 8192].map { space.word(at: start + $0) }
      check(words == [6, 5, 5])
    }
  }

  @Test("a file's page is only unmapped: the page cache keeps what was written")
  func file() throws {
    try withProcess { space in
      let file = HostFile(seed: 3, byteCount: 2 << 12)
      let id = try space.open(file)
      let one = try space.add(.init(byteCount: 8192, backing: .file(id, offset: 0, .shared)))
      let two = try space.add(.init(byteCount: 4096, backing: .file(id, offset: 0, .copyOnWrite)))
      check(space.content(at: one) == .file(file, offset: 0))
      check(space.word(at: one + 8) == file.word(1))
      check(space.poke(4, at: one) == .complete)
      check(space.peek(two) == 4)
      let recorder = Recorder()
      let out = space.swapOut(two, telling: recorder)
      check(out == .done && recorder.starts.count == 2)
      check(space.lookUpMapped(one, for: .read) == nil)
      let accounts = [space.host.frames(.file), space.host.frames(.swapped)]
      check(accounts == [1, 0] && HostAudit.faults(space) == [])
      check(space.word(at: two) == 4)
      check(space.peek(one) == 4 && space.peek(two + 8) == file.word(1))
    }
  }

  @Test("a page of a transparent huge page is swapped alone; collapsing brings it back")
  func huge() throws {
    try withProcess { space in
      let start = try space.anonymous(2 << 20, largest: .page2M)
      check(space.poke(3, at: start + 0x5000) == .complete)
      let out = space.swapOut(start + 0x5000, telling: Unnotified())
      check(out == .done)
      let accounts = [space.host.frames(.anonymous), space.host.frames(.swapped)]
      check(accounts == [511, 1])
      let whole = space.collapse(at: start, to: .page2M, telling: Unnotified())
      check(whole == .done && space.mappingLevel(at: start) == .page2M)
      check(space.word(at: start + 0x5000) == 3)
      let range = start..<(start + (2 << 20))
      let all = space.swapOut(range, telling: Unnotified())
      let after = [space.host.frames(.anonymous), space.host.frames(.swapped)]
      check(all == .done && after == [0, 512])
      let back = space.swapIn(range)
      let returned = [space.host.frames(.anonymous), space.host.frames(.swapped)]
      check(back == .done && returned == [512, 0] && HostAudit.faults(space) == [])
    }
  }

  @Test("a hidden page is swapped and comes back hidden")
  func hidden() throws {
    try withProcess { space in
      let start = try space.anonymous(4096)
      let range = start..<(start + 4096)
      check(space.poke(3, at: start) == .complete)
      try space.protect(range, .none, telling: Unnotified())
      let out = space.swapOut(start, telling: Unnotified())
      let back = space.swapIn(start)
      check(out == .done && back == .done)
      check(space.lookUpMapped(start, for: .read) == nil && space.peek(start) == nil)
      try space.protect(range, .readOnly, telling: Unnotified())
      check(space.peek(start) == 3)
      _ = space.swapOut(start, telling: Unnotified())
      check(space.poke(4, at: start) == .stopped(after: 0, .badAddress))
      check(space.peek(start) == 3)
    }
  }

  @Test("unmapping and removing give back the places in the swap area")
  func unmap() throws {
    try withProcess { space in
      let start = try space.anonymous(3 << 12)
      for page in 0..<3 as Range<UInt64> {
        check(space.poke(page + 1, at: start + page << 12) == .complete)
      }
      _ = space.swapOut(start..<(start + 0x3000), telling: Unnotified())
      let cut = space.unmap(start..<(start + 4096), telling: Unnotified())
      let left = space.host.frames(.swapped)
      check(cut == .done && left == 2)
      check(space.word(at: start) == 0 && space.peek(start) == 0)
      try space.remove(regionAt: start, telling: Unnotified())
      let none = space.host.frames(.swapped)
      check(none == 0)
      check(space.content(at: start) == .nothing)
    }
  }

  @Test("a file's page that moves is followed by each of its mappings")
  func migrateFile() throws {
    try withProcess { space in
      let id = try space.open(HostFile(seed: 3, byteCount: 4096))
      let one = try space.add(.init(byteCount: 4096, backing: .file(id, offset: 0, .shared)))
      let two = try space.add(.init(byteCount: 4096, backing: .file(id, offset: 0, .shared)))
      check(space.poke(4, at: one) == .complete && space.peek(two) == 4)
      let old = try need(space.lookUpMapped(one, for: .write)).frame
      let recorder = Recorder()
      let moved = space.migrate(two, telling: recorder)
      check(moved == .done && recorder.starts.count == 2 && recorder.open.isEmpty)
      let frames = [one, two].map { space.lookUpMapped($0, for: .write)?.frame }
      check(frames[0] == frames[1] && frames[0] != old)
      check(HostAudit.faults(space) == [])
      check(space.poke(5, at: two) == .complete && space.peek(one) == 5)
    }
  }

  @Test("a page with more mappings than are followed stays")
  func tooMany() throws {
    try withProcess { space in
      let start = try space.anonymous(17 << 12)
      for page in 0..<17 as Range<UInt64> {
        check(space.poke(5, at: start + page << 12) == .complete)
        if page > 0 { _ = space.merge(start + page << 12, into: start, telling: Unnotified()) }
      }
      let outcomes = [
        space.migrate(start, telling: Unnotified()), space.swapOut(start, telling: Unnotified()),
        space.poison(start, telling: Unnotified()),
      ]
      check(outcomes == [.unsuitable, .unsuitable, .unsuitable])
      check(space.poke(6, at: start) == .complete)
      let now = space.swapOut(start + 4096, telling: Unnotified())
      check(now == .done && space.word(at: start + 0x8000) == 5)
    }
  }

  @Test("a damaged page is damaged for all who map it; a clean file's page is read again")
  func poison() throws {
    try withProcess(leaving: { $0.frames(.poisoned) == 3 && hasNoPages($0) }) { space in
      let start = try space.anonymous(8192)
      for page in [start, start + 4096] { check(space.poke(5, at: page) == .complete) }
      _ = space.merge(start + 4096, into: start, telling: Unnotified())
      _ = space.shareForCopy(start..<(start + 4096), telling: Unnotified())
      let hit = space.poison(start, telling: Unnotified())
      check(hit == .done && HostAudit.faults(space) == [])
      for page in [start, start + 4096] {
        let answer = space.lookUp(page, for: .read, telling: Unnotified())
        check(answer == .poisoned && space.content(at: page) == .damaged)
      }
      check(space.contentOfCopy(at: start) == .damaged)
      let file = HostFile(seed: 3, byteCount: 8192)
      let id = try space.open(file)
      let one = try space.add(.init(byteCount: 8192, backing: .file(id, offset: 0, .shared)))
      let two = try space.add(.init(byteCount: 8192, backing: .file(id, offset: 0, .shared)))
      check(space.peek(one) == file.word(0) && space.peek(two) == file.word(0))
      let clean = space.poison(one, telling: Unnotified())
      check(clean == .done && space.peek(two) == file.word(0))
      check(space.poke(1, at: one + 4096) == .complete && space.peek(two + 4096) == 1)
      let dirty = space.poison(one + 4096, telling: Unnotified())
      check(dirty == .done && space.peek(two + 4096) == nil)
      let fresh = space.unmap(two..<(two + 8192), telling: Unnotified())
      check(fresh == .done && space.peek(two + 4096) == file.word(512))
    }
  }
}
