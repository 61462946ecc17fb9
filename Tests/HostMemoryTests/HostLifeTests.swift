import HostMemory
import PagingUnits
import SparseMemory
import Testing

/// Random lives of a process against a map of what each page should hold.
@Suite struct HostLifeTests {
  @Test(
    "whatever happens to pages, bytes stay, notifications pair and nothing is left",
    arguments: 0..<20 as Range<UInt64>)
  func life(seed: UInt64) throws {
    try withProcess(frames: 1 << 13) { space in
      var chance = Chance(seed: seed)
      let recorder = Recorder()
      let largest: Level = seed.isMultiple(of: 3) ? .page4K : .page2M
      let byteCount: UInt64 = 3 << 20
      let start = try space.anonymous(byteCount, largest: largest)
      let end = start + byteCount
      var words: [UInt64: UInt64] = [:]
      var isReadOnly: Set<UInt64> = []

      for step in 0..<400 {
        let page = UInt64.random(in: 0..<(byteCount >> 12), using: &chance)
        let address = start + page << 12
        let last = min(page + UInt64.random(in: 1...40, using: &chance), byteCount >> 12)
        let range = address..<(start + last << 12)
        switch Int.random(in: 0..<10, using: &chance) {
        case 0, 1, 2:
          let value = chance.next() & 3
          let outcome = space.poke(value, at: address, telling: recorder)
          #expect((outcome == .complete) == !isReadOnly.contains(page), "seed \(seed) step \(step)")
          if outcome == .complete { words[page] = value }
        case 3: _ = space.migrate(address, telling: recorder)
        case 4:
          let other = UInt64.random(in: 0..<(byteCount >> 12), using: &chance)
          _ = space.merge(address, into: start + other << 12, telling: recorder)
        case 5: _ = space.split(at: address, telling: recorder)
        case 6: _ = space.collapse(at: address, to: .page2M, telling: recorder)
        case 7:
          let outcome = space.unmap(range, telling: recorder)
          #expect(outcome == .done)
          for gone in page..<last { words[gone] = nil }
        case 8:
          try space.protect(range, .readOnly, telling: recorder)
          isReadOnly.formUnion(page..<last)
        default:
          if step.isMultiple(of: 3) {
            try space.protect(start..<end, .readWrite, telling: recorder)
            isReadOnly = []
          }
        }
        let probe = UInt64.random(in: 0..<(byteCount >> 12), using: &chance)
        let value = space.peek(start + probe << 12, telling: recorder)
        #expect(value == words[probe, default: 0], "seed \(seed) step \(step) page \(probe)")
        #expect(recorder.open.isEmpty)
      }
      for (page, word) in words { #expect(space.peek(start + page << 12) == word) }
    }
  }

  /// A life that needs frames of every kind, going on past refusals.
  static func busyLife(_ space: borrowing HostAddressSpace, _ recorder: Recorder) {
    guard let small = try? space.anonymous(64 << 12),
      let large = try? space.anonymous(4 << 20, largest: .page2M),
      let id = try? space.open(HostFile(seed: 1, byteCount: 1 << 16)),
      let file = try? space.add(
        .init(byteCount: 1 << 16, backing: .file(id, offset: 0, .copyOnWrite)))
    else { return }
    for address in [small, large, file, small + 4096, large + (2 << 20)] {
      _ = space.peek(address, telling: recorder)
      _ = space.poke(8, at: address, telling: recorder)
    }
    // A private page first touched by a write, where no table is yet.
    let far = HostVirtual(1 << 44)
    if (try? space.add(
      .init(byteCount: 4096, backing: .file(id, offset: 0, .copyOnWrite), at: far))) != nil
    {
      _ = space.poke(8, at: far, telling: recorder)
    }
    _ = space.merge(small + 4096, into: small, telling: recorder)
    _ = space.poke(9, at: small + 4096, telling: recorder)
    _ = space.migrate(small, telling: recorder)
    _ = space.split(at: large, telling: recorder)
    _ = space.unmap((large + 4096)..<(large + 8192), telling: recorder)
    _ = space.collapse(at: large, to: .page2M, telling: recorder)
    _ = space.unmap((large + (3 << 20))..<(large + (4 << 20)), telling: recorder)
    try? space.protect(file..<(file + 4096), .readOnly, telling: recorder)
    try? space.remove(regionAt: small, telling: recorder)
  }

  @Test("the nth allocation refused, for every n, leaves nothing behind and no pair open")
  func refusals() throws {
    var number: UInt64 = 1
    while true {
      let recorder = Recorder()
      let attempts = try withHost(frames: 1 << 13) { host in
        var attempts: UInt64 = 0
        let free = host.frames(.free)
        host.refuse(.once(number))
        if let space = try? HostAddressSpace(sharing: host) {
          Self.busyLife(space, recorder)
        }
        attempts = host.allocationCount
        let left = host.frames(.free)
        #expect(left == free, "allocation \(number) refused: \(free - left) frames were left")
        return attempts
      }
      #expect(recorder.open.isEmpty)
      if number > attempts { break }
      number += 1
    }
    #expect(number > 15, "the life needs many allocations")
  }

  @Test("threads that fault, write and change the same pages keep every page's bytes apart")
  func threads() async throws {
    let arena = try TestArena(frames: 1 << 14)
    defer { withExtendedLifetime(arena) {} }
    let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
    do {
      let shared = SendableSpace(try HostAddressSpace(sharing: host))
      let start = try shared.space.anonymous(4 << 20, largest: .page2M)
      await withTaskGroup(of: Bool.self) { group in
        for thread in 0..<3 as Range<UInt64> {
          group.addTask {
            var chance = Chance(seed: thread)
            for step in 0..<1500 as Range<UInt64> {
              let page = chance.next() % 1024
              let address = start + page << 12 + thread * 8
              guard shared.space.poke(step, at: address) == .complete,
                shared.space.peek(address) == step
              else { return false }
            }
            return true
          }
        }
        group.addTask {
          var chance = Chance(seed: 99)
          for _ in 0..<400 {
            let address = start + (chance.next() % 1024) << 12
            switch chance.next() % 4 {
            case 0: _ = shared.space.migrate(address, telling: Unnotified())
            case 1: _ = shared.space.split(at: address, telling: Unnotified())
            case 2: _ = shared.space.collapse(at: address, to: .page2M, telling: Unnotified())
            default: _ = shared.space.merge(address, into: start, telling: Unnotified())
            }
          }
          return true
        }
        for await isRight in group { #expect(isRight) }
      }
    }
    let isClean = hasNoPages(host)
    #expect(isClean)
  }
}

final class SendableSpace: Sendable {
  let space: HostAddressSpace
  init(_ space: consuming HostAddressSpace) { self.space = space }
}
