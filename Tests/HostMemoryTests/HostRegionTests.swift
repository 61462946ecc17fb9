import HostMemory
import PagingUnits
import Testing

@Suite struct HostRegionTests {
  static let mistakes: [(HostRegionRequest, HostRegionError)] = [
    (.init(byteCount: 0, backing: .anonymous(largestPage: .page4K)), .size(0)),
    (.init(byteCount: 4097, backing: .anonymous(largestPage: .page4K)), .size(4097)),
    (.init(byteCount: 4096, backing: .hugePages(.page2M)), .size(4096)),
    (.init(byteCount: 1 << 39, backing: .hugePages(.level4)), .pageSize(.level4)),
    (
      .init(
        byteCount: 4096, backing: .anonymous(largestPage: .page4K), at: HostVirtual(0x1_0800)),
      .misaligned(0x1_0800)
    ),
    (
      .init(byteCount: 2 << 20, backing: .hugePages(.page2M), at: HostVirtual(0x40_1000)),
      .misaligned(0x40_1000)
    ),
    (
      .init(
        byteCount: 8192, backing: .anonymous(largestPage: .page4K),
        at: HostVirtual(0x7FFF_FFFF_E000)),
      .outside(HostVirtual(0x7FFF_FFFF_E000)..<HostAddressSpace.endAddress)
    ),
    (
      .init(
        byteCount: 3 << 12, backing: .anonymous(largestPage: .page4K), at: HostVirtual(0xF_E000)),
      .overlap(HostVirtual(0x10_0000))
    ),
    (
      .init(
        byteCount: 1 << 12, backing: .anonymous(largestPage: .page4K), at: HostVirtual(0x10_1000)),
      .overlap(HostVirtual(0x10_0000))
    ),
    (.init(byteCount: 1 << 47, backing: .anonymous(largestPage: .page4K)), .noGap),
  ]

  @Test("a region that cannot be is refused with its reason", arguments: mistakes.indices)
  func refuses(index: Int) throws {
    let (request, expected) = Self.mistakes[index]
    try withProcess { space in
      _ = try space.anonymous(8192, at: HostVirtual(0x10_0000))
      do throws(HostRegionError) {
        _ = try space.add(request)
        Issue.record("the region was added")
      } catch {
        #expect(error == expected)
      }
    }
  }

  @Test("as many regions as the limit fit, and a removed one makes room")
  func capacity() throws {
    try withHost(frames: 4096) { host in
      var limits = HostAddressSpace.Limits()
      limits.regions = 3
      let space = try HostAddressSpace(sharing: host, limits: limits)
      let first = try space.anonymous(4096)
      _ = try space.anonymous(4096)
      _ = try space.anonymous(4096)
      do throws(HostRegionError) {
        _ = try space.add(.init(byteCount: 4096, backing: .hugePages(.page4K)))
        Issue.record("a fourth region was added")
      } catch {
        #expect(error == .tooMany)
      }
      try space.remove(regionAt: first, telling: Unnotified())
      let again = try space.anonymous(4096)
      #expect(again == first)
    }
  }

  @Test("chosen places are aligned to the largest page and keep a page between regions")
  func placement() throws {
    try withProcess { space in
      var ranges: [Range<UInt64>] = []
      for level in [Level.page4K, .page2M, .page1G, .page4K, .page2M] {
        let start = try space.anonymous(3 * 4096, largest: level)
        #expect(start.raw.isMultiple(of: level.byteCount))
        for range in ranges {
          #expect(start.raw + 12288 < range.lowerBound || start.raw > range.upperBound)
        }
        ranges.append(start.raw..<(start.raw + 12288))
      }
    }
  }

  @Test("a removed region's pages are gone and its addresses are bad")
  func removal() throws {
    try withProcess { space in
      let start = try space.anonymous(8192)
      #expect(space.poke(1, at: start) == .complete)
      let recorder = Recorder()
      try space.remove(regionAt: start, telling: recorder)
      #expect(recorder.starts == [start..<(start + 8192)])
      #expect(recorder.open.isEmpty)
      let left = space.host.frames(.anonymous)
      #expect(left == 0)
      let answer = space.lookUp(start, for: .read, telling: recorder)
      #expect(answer == .badAddress)
      #expect(space.region(containing: start) == nil)
    }
  }
}
