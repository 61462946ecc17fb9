import HostMemory
import PagingUnits
import Testing

@Suite struct HostFaultTests {
  @Test("untouched memory reads as the shared zeros, and a write gets a page of its own")
  func zeroPage() throws {
    try withProcess { space in
      let recorder = Recorder()
      let start = try space.anonymous(8192)
      let zero = try need(space.lookUp(start + 8, for: .read, telling: recorder).page)
      #expect(zero == HostPage(frame: space.host.zeroFrame, isWritable: false, content: .special))
      #expect(recorder.events.isEmpty, "filling an empty entry changes no page")
      let own = try need(space.lookUp(start, for: .write, telling: recorder).page)
      #expect(own.isWritable && own.content == .memory && own.frame != zero.frame)
      #expect(recorder.starts == [start..<(start + 4096)])
      #expect(recorder.open.isEmpty)
      #expect(space.peek(start) == 0)
      let again = try need(space.lookUp(start, for: .read, telling: recorder).page)
      #expect(again == own, "a read reports that the page is writable anyway")
    }
  }

  @Test(
    "memory is backed by the largest page that fits",
    arguments: [Level.page4K, .page2M, .page1G])
  func largestPage(level: Level) throws {
    try withProcess { space in
      let start = try space.anonymous((1 << 30) + (2 << 20) + 4096, largest: level)
      let places: [(UInt64, Level)] = [
        (5 << 20, level), (1 << 30, min(level, .page2M)), ((1 << 30) + (2 << 20), .page4K),
      ]
      for (offset, expected) in places {
        let address = start + offset + 0x3008
        let page = try need(space.lookUp(start + offset, for: .write, telling: Unnotified()).page)
        #expect(page.isWritable)
        #expect(space.mappingLevel(at: start + offset) == expected)
        guard expected > .page4K else { continue }
        let inside = try need(space.lookUpMapped(address, for: .write))
        #expect(inside.frame == page.frame + 3)
        let head = try #require(space.host.records.head(of: inside.frame))
        #expect(space.host.records.order(of: head) == FrameOrder(expected))
      }
    }
  }

  @Test("a huge page that cannot be had is replaced by smaller ones")
  func fallback() throws {
    try withProcess(frames: 1030) { space in
      let start = try space.anonymous(4 << 20, largest: .page2M)
      #expect(space.poke(1, at: start) == .complete)
      #expect(space.mappingLevel(at: start) == .page2M)
      #expect(space.poke(2, at: start + (2 << 20)) == .complete)
      #expect(space.mappingLevel(at: start + (2 << 20)) == .page4K)
    }
  }

  @Test("recycled frames come back as zeros")
  func recycled() throws {
    try withProcess(frames: 1100) { space in
      let start = try space.anonymous(2 << 20, largest: .page2M)
      for offset in stride(from: 0, to: 2 << 20, by: 4096) as StrideTo<UInt64> {
        #expect(space.poke(.max, at: start + offset) == .complete)
      }
      let outcome = space.unmap(start..<(start + (2 << 20)), telling: Unnotified())
      #expect(outcome == .done)
      #expect(space.poke(1, at: start + 8) == .complete)
      #expect(space.peek(start) == 0)
      #expect(space.peek(start + 4096) == 0)
    }
  }

  @Test("what the region forbids is refused as KVM reports it")
  func forbidden() throws {
    try withProcess { space in
      let device = HostFrame(1 << 30)
      let plain = try space.add(
        .init(byteCount: 4096, backing: .anonymous(largestPage: .page4K), protection: .readOnly))
      let none = try space.add(
        .init(byteCount: 4096, backing: .anonymous(largestPage: .page4K), protection: .none))
      let io = try space.add(
        .init(byteCount: 8192, backing: .device(firstFrame: device), protection: .readOnly))
      #expect(space.ask(plain, .write) == .badAddress)
      #expect(space.ask(plain, .read).page?.isWritable == false)
      #expect(space.ask(none, .read) == .badAddress)
      #expect(space.ask(io + 4096, .write) == .readOnly)
      #expect(
        space.ask(io + 4096, .read)
          == .page(HostPage(frame: device + 1, isWritable: false, content: .special)))
      #expect(space.ask(io + 8192, .read) == .badAddress)
      #expect(space.ask(HostVirtual(.max), .read) == .badAddress)
      #expect(space.ask(HostVirtual(0xFFFF_8000_0000_0000), .write) == .badAddress)
    }
  }

  @Test("a file's bytes are its own; private writes stay private, shared ones are seen")
  func files() throws {
    try withProcess { space in
      let file = HostFile(seed: 11, byteCount: 3 * 4096)
      let id = try space.open(file)
      let shared = try space.add(
        .init(byteCount: 4 * 4096, backing: .file(id, offset: 0, .shared)))
      let own = try space.add(
        .init(byteCount: 2 * 4096, backing: .file(id, offset: 4096, .copyOnWrite)))
      #expect(space.peek(shared + 4096 + 16) == file.word(514))
      #expect(space.peek(own + 16) == file.word(514))
      let seen = try need(space.lookUp(shared + 4096, for: .read, telling: Unnotified()).page)
      let before = try need(space.lookUp(own, for: .read, telling: Unnotified()).page)
      #expect(seen.frame == before.frame && seen.isWritable && !before.isWritable)
      #expect(space.poke(1, at: shared + 4096) == .complete)
      #expect(space.peek(own) == 1)
      let recorder = Recorder()
      #expect(space.poke(2, at: own, telling: recorder) == .complete)
      #expect(recorder.starts == [own..<(own + 4096)])
      #expect(space.peek(shared + 4096) == 1)
      #expect(space.peek(own + 8) == file.word(513))
      // A private page first touched by a write needs no notification.
      #expect(space.poke(3, at: own + 4096, telling: recorder) == .complete)
      #expect(recorder.starts.count == 1)
      #expect(space.peek(shared + 8192) == file.word(1024))
      let beyond = space.lookUp(shared + 3 * 4096, for: .read, telling: recorder)
      #expect(beyond == .badAddress)
      // The page cache keeps what was written when the mapping goes.
      _ = space.unmap(shared..<(shared + 4 * 4096), telling: recorder)
      #expect(space.peek(shared + 4096) == 1)
    }
  }

  @Test("huge pages are always whole, also where smaller pages were before")
  func hugePages() throws {
    try withProcess { space in
      let place = HostVirtual(1 << 40)
      _ = try space.anonymous(2 << 30, at: place)
      #expect(space.poke(1, at: place + 4096) == .complete)
      try space.remove(regionAt: place, telling: Unnotified())
      for level in [Level.page2M, .page1G] {
        _ = try space.add(.init(byteCount: 2 << 30, backing: .hugePages(level), at: place))
        let page = try need(space.lookUp(place + 4096, for: .read, telling: Unnotified()).page)
        #expect(page.isWritable)
        #expect(space.mappingLevel(at: place) == level)
        #expect(space.peek(place + 4096) == 0)
        let cut = space.unmap(place..<(place + 4096), telling: Unnotified())
        #expect(cut == .unsuitable)
        #expect(space.mappingLevel(at: place) == level)
        try space.remove(regionAt: place, telling: Unnotified())
        #expect(space.mappingLevel(at: place) == .page4K)
      }
      // The tables that made way serve small pages again.
      _ = try space.anonymous(2 << 30, at: place)
      #expect(space.poke(1, at: place + 4096) == .complete)
      #expect(space.mappingLevel(at: place + 4096) == .page4K)
    }
  }

  @Test("the host's table says in x86's format what was looked up")
  func tableFormat() throws {
    try withProcess { space in
      let memory = space.host.memory
      let root = space.root
      func leaf(_ address: HostVirtual) -> (entry: UInt64, depth: Int)? {
        var table = root.number << 12
        for depth in stride(from: 4, through: 1, by: -1) {
          let index = (address.raw >> (12 + 9 * UInt64(depth - 1))) & 0x1FF
          let entry = memory.entry(at: HostPhysical(table + index * 8))
          guard entry & 1 == 1 else { return nil }
          if depth == 1 || (depth < 4 && entry & 0x80 != 0) { return (entry, depth) }
          table = entry & 0x000F_FFFF_FFFF_F000
        }
        return nil
      }
      let small = try space.anonymous(8192)
      let large = try space.anonymous(2 << 20, largest: .page2M)
      #expect(leaf(small) == nil)
      for (address, depth) in [(small, 1), (large + 0x5000, 2)] {
        let page = try need(space.lookUp(address, for: .write, telling: Unnotified()).page)
        let found = try #require(leaf(address))
        #expect(found.depth == depth)
        #expect(found.entry & 0x8000_0000_0000_0067 == 0x8000_0000_0000_0067)
        let head = page.frame.number & ~(depth == 2 ? 511 : 0)
        #expect((found.entry & 0x000F_FFFF_FFFF_F000) >> 12 == head)
      }
    }
  }

  @Test("bytes that run over pages and past the end stop where the memory does")
  func bytes() throws {
    try withProcess { space in
      let start = try space.anonymous(8192)
      let recorder = Recorder()
      let text: [UInt8] = (0..<200).map { UInt8($0) }
      // SAFETY: the spans live as long as the arrays they look at.
      let outcome = unsafe space.write(text.span.bytes, to: start + 4000, telling: recorder)
      #expect(outcome == .complete)
      var back = [UInt8](repeating: 0, count: 200)
      var span = back.mutableSpan
      // SAFETY: as above.
      var bytes = unsafe span.mutableBytes
      let reading = space.read(into: &bytes, from: start + 4000, telling: recorder)
      #expect(reading == .complete)
      #expect(back == text)
      // SAFETY: as above.
      let stopped = unsafe space.write(text.span.bytes, to: start + 8100, telling: recorder)
      #expect(stopped == .stopped(after: 92, .badAddress))
      let page = try need(space.lookUpMapped(start, for: .read))
      #expect(space.host.records.isDirty(page.frame))
    }
  }
}

extension HostAddressSpace {
  /// Looks a page up for nobody who listens.
  fileprivate func ask(_ address: HostVirtual, _ access: HostAccess) -> HostLookup {
    lookUp(address, for: access, telling: Unnotified())
  }
}
