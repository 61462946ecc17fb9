import GuestMemory
import HostMemory
import PagingUnits
import Testing

@Suite struct HugePageRefusalTests {
  static let bases: [UInt64] = [0, 1, 511, 512, 513, 1024, 262_143, 262_144, 262_656]
  static let counts: [UInt64] = [
    1, 2, 511, 512, 513, 1023, 1024, 1025, 1536, 261_632, 262_143, 262_144, 262_145, 524_288,
  ]
  static let hosts: [UInt64] = [0, 1, 512, 262_144]

  @Test(
    "a huge page is refused exactly where it leaves the slot or the host's alignment",
    arguments: bases)
  func initialWords(base: UInt64) throws {
    for count in Self.counts {
      for shift in Self.hosts {
        let memory = GuestMemory()
        let host = (base & 0x3FFFF) + shift + (1 << 20)
        try memory.change(MemslotRegion(1, at: base, count, host: host))
        let slot = try need(memory.slot(MemslotID(1), in: .normal))
        for level in [Level.page2M, .page1G] {
          let size = level.frameCount
          var start = base & ~(size - 1)
          while start < base + count {
            let fits = base <= start && start + size <= base + count
            let isAligned = (host &- base) & (size - 1) == 0
            for frame in [max(start, base), min(start + size, base + count) - 1] {
              let word = memory.hugePageRefusals(in: slot, at: GuestFrame(frame), level)
              #expect(
                word.raw == (fits && isAligned ? 0 : 1),
                "base \(base) count \(count) host \(host) frame \(frame) level \(level.depth)")
            }
            start += size
          }
        }
      }
    }
  }

  @Test("the largest level is the highest at which nothing refuses")
  func largestLevel() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 512, 262_144 * 2, host: 262_144 + 512))
    let slot = try need(memory.slot(MemslotID(1), in: .normal))
    func largest(_ frame: UInt64, _ limit: Level = .level5) -> Level {
      memory.largestLevel(in: slot, at: GuestFrame(frame), atMost: limit)
    }
    #expect(largest(600) == .page2M)
    #expect(largest(262_144) == .page1G)
    #expect(largest(262_144, .page2M) == .page2M)
    #expect(largest(262_144, .page4K) == .page4K)
    memory.refuseHugePages(in: slot, around: GuestFrame(262_144 + 700))
    memory.refuseHugePages(in: slot, around: GuestFrame(262_144 + 701))
    #expect(largest(262_144 + 600) == .page4K)
    #expect(largest(262_144) == .page2M)
    #expect(memory.hugePageRefusals(in: slot, at: GuestFrame(262_144 + 512), .page2M).count == 2)
    memory.allowHugePages(in: slot, around: GuestFrame(262_144 + 700))
    #expect(largest(262_144 + 600) == .page4K)
    memory.allowHugePages(in: slot, around: GuestFrame(262_144 + 701))
    #expect(largest(262_144 + 600) == .page1G)
  }

  @Test("a reason taken back that was never given traps")
  func underflow() async {
    await #expect(processExitsWith: .failure) {
      let memory = GuestMemory()
      try memory.change(MemslotRegion(1, at: 0, 512, host: 512))
      guard let slot = memory.slot(MemslotID(1), in: .normal) else { return }
      memory.allowHugePages(in: slot, around: GuestFrame(0))
    }
  }
}
