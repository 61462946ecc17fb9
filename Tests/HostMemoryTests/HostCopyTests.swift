import HostMemory
import PagingUnits
import Testing

@Suite struct HostCopyTests {
  @Test("after a fork the next write makes a copy, and the forked process keeps what it saw")
  func fork() throws {
    try withProcess { space in
      let start = try space.anonymous(4 << 12)
      let range = start..<(start + 0x4000)
      check(space.poke(1, at: start) == .complete && space.poke(2, at: start + 4096) == .complete)
      let old = try need(space.lookUpMapped(start, for: .write)).frame
      let recorder = Recorder()
      let shared = space.shareForCopy(range, telling: recorder)
      check(shared == .done && recorder.starts == [range] && recorder.open.isEmpty)
      check(space.lookUpMapped(start, for: .write) == nil)
      check(space.host.records.mappings(of: old) == 2)
      check(space.poke(3, at: start, telling: recorder) == .complete)
      check(recorder.starts.last == start..<(start + 4096))
      let new = try need(space.lookUpMapped(start, for: .write)).frame
      check(new != old && space.word(at: start) == 3 && space.wordOfCopy(at: start) == 1)
      check(HostAudit.faults(space) == [])
      // Once the forked process is gone, a write needs no copy.
      let second = try need(space.lookUpMapped(start + 4096, for: .read)).frame
      space.dropCopy(of: range)
      check(space.contentOfCopy(at: start) == .nothing && HostAudit.faults(space) == [])
      let events = recorder.events.count
      let page = try need(space.lookUp(start + 4096, for: .write, telling: recorder).page)
      check(page.frame == second && recorder.events.count == events)
      let left = space.host.frames(.anonymous)
      check(left == 2)
    }
  }

  @Test("forking again replaces what the forked process had; unmapping leaves it")
  func forkAgain() throws {
    try withProcess { space in
      let start = try space.anonymous(4096)
      let range = start..<(start + 4096)
      for value in 1...3 as ClosedRange<UInt64> {
        check(space.poke(value, at: start) == .complete)
        for _ in 0..<2 {
          let shared = space.shareForCopy(range, telling: Unnotified())
          check(shared == .done && HostAudit.faults(space) == [])
        }
        check(space.wordOfCopy(at: start) == value)
      }
      let gone = space.unmap(range, telling: Unnotified())
      check(gone == .done && space.wordOfCopy(at: start) == 3 && space.word(at: start) == 0)
      let used = space.host.frames(.anonymous)
      check(used == 1)
    }
  }

  @Test("a swapped page is shared where it lies, and a shared page is swapped for both")
  func forkAndSwap() throws {
    try withProcess { space in
      let start = try space.anonymous(8192)
      let range = start..<(start + 8192)
      check(space.poke(1, at: start) == .complete && space.poke(2, at: start + 4096) == .complete)
      _ = space.swapOut(start, telling: Unnotified())
      _ = space.shareForCopy(range, telling: Unnotified())
      _ = space.swapOut(start + 4096, telling: Unnotified())
      let swapped = space.host.frames(.swapped)
      check(swapped == 2 && HostAudit.faults(space) == [])
      check(space.poke(8, at: start) == .complete && space.poke(9, at: start + 4096) == .complete)
      let still = space.host.frames(.swapped)
      check(still == 2 && HostAudit.faults(space) == [])
      check(space.wordOfCopy(at: start) == 1 && space.wordOfCopy(at: start + 4096) == 2)
      check(space.word(at: start) == 8 && space.word(at: start + 4096) == 9)
      space.dropCopy(of: range)
      let none = space.host.frames(.swapped)
      check(none == 0)
    }
  }

  @Test("huge pages are split to be shared; those that do not split and files are left alone")
  func huge() throws {
    try withProcess { space in
      let start = try space.anonymous(2 << 20, largest: .page2M)
      check(space.poke(1, at: start) == .complete)
      let shared = space.shareForCopy(start..<(start + (2 << 20)), telling: Unnotified())
      check(shared == .done && space.mappingLevel(at: start) == .page4K)
      let whole = space.collapse(at: start, to: .page2M, telling: Unnotified())
      check(whole == .unsuitable, "a shared page is not gathered")
      let huge = try space.add(.init(byteCount: 2 << 20, backing: .hugePages(.page2M)))
      check(space.poke(1, at: huge) == .complete)
      let none = space.shareForCopy(huge..<(huge + (2 << 20)), telling: Unnotified())
      check(none == .nothingThere && space.lookUpMapped(huge, for: .write) != nil)
      let id = try space.open(HostFile(seed: 1, byteCount: 8192))
      let file = try space.add(.init(byteCount: 8192, backing: .file(id, offset: 0, .copyOnWrite)))
      _ = space.peek(file)
      check(space.poke(1, at: file + 4096) == .complete)
      let own = space.shareForCopy(file..<(file + 8192), telling: Unnotified())
      check(own == .done)
      check(space.contentOfCopy(at: file) == .nothing && space.wordOfCopy(at: file + 4096) == 1)
    }
  }

  @Test("a write-protected page is written in place, and nobody is told of the right it gains")
  func writeProtect() throws {
    try withProcess { space in
      let start = try space.anonymous(4 << 20, largest: .page2M)
      for place in [start, start + (2 << 20)] { check(space.poke(1, at: place) == .complete) }
      let recorder = Recorder()
      let range = start..<(start + (2 << 20) + 4096)
      let done = space.writeProtect(range, telling: recorder)
      check(done == .done && recorder.starts.last == range && recorder.open.isEmpty)
      let levels = [start, start + (2 << 20)].map { space.mappingLevel(at: $0) }
      check(levels == [.page2M, .page4K], "only the page that the range cuts is split")
      check(space.lookUpMapped(start + (2 << 20) + 4096, for: .write) != nil)
      for place in [start + 0x3000, start + (2 << 20)] {
        let old = try need(space.lookUpMapped(place, for: .read))
        check(!old.isWritable)
        let events = recorder.events.count
        let page = try need(space.lookUp(place, for: .write, telling: recorder).page)
        check(page.frame == old.frame && recorder.events.count == events)
      }
      let nothing = space.writeProtect(start..<start, telling: recorder)
      check(nothing == .nothingThere)
    }
  }

  @Test("the pages of a range that hold the same bytes come to share one frame")
  func mergeRange() throws {
    try withProcess { space in
      let start = try space.anonymous(8 << 12)
      for page in 0..<7 as Range<UInt64> {
        check(space.poke(page % 2, at: start + page << 12) == .complete)
      }
      let range = start..<(start + 0x8000)
      let merged = space.merge(range, telling: Unnotified())
      let left = space.host.frames(.anonymous)
      check(merged == .done && left == 2 && HostAudit.faults(space) == [])
      let again = space.merge(range, telling: Unnotified())
      check(again == .nothingThere)
      for page in 0..<7 as Range<UInt64> { check(space.word(at: start + page << 12) == page % 2) }
    }
  }
}
