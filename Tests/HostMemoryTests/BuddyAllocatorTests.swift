import HostMemory
import PagingUnits
import Testing

@Suite struct BuddyAllocatorTests {
  @Test("a terabyte is handed out in pages of every size without touching the rest")
  func terabyte() throws {
    let arena = try TestArena(frames: 1 << 28)
    defer { withExtendedLifetime(arena) {} }
    var buddy = BuddyAllocator(
      records: arena.records, frames: HostFrame(1)..<HostFrame(1 << 28))
    #expect(buddy.freeCount == (1 << 28) - 1)
    for order in [FrameOrder.page4K, .page2M, .page1G] {
      let block = try need(buddy.allocate(order, as: .anonymous))
      #expect(block.frame.number.isMultiple(of: order.frameCount))
      #expect(block.isZeroed)
      #expect(arena.records.order(of: block.frame) == order)
    }
    let last = HostFrame((1 << 28) - 1)
    let first = buddy.allocate(at: last, .page4K, as: .anonymous)
    #expect(first?.frame == last)
    let second = buddy.allocate(at: last, .page4K, as: .anonymous)
    #expect(second == nil)
  }

  @Test("allocator and a naive map of frames agree", arguments: 0..<12 as Range<UInt64>)
  func agreesWithNaive(seed: UInt64) throws {
    var chance = Chance(seed: seed)
    let count = 1500 + Int(seed) * 131
    let first = Int(seed) * 7
    let arena = try TestArena(frames: UInt64(count))
    defer { withExtendedLifetime(arena) {} }
    var buddy = BuddyAllocator(
      records: arena.records, frames: HostFrame(UInt64(first))..<HostFrame(UInt64(count)))
    var isFree = [Bool](repeating: true, count: count)
    for frame in 0..<first { isFree[frame] = false }
    var wasUsed = [Bool](repeating: false, count: count)
    var blocks: [(frame: Int, size: Int)] = []

    func isFreeRun(_ frame: Int, _ size: Int) -> Bool {
      frame + size <= count && isFree[frame..<(frame + size)].allSatisfy { $0 }
    }
    func take(_ block: BuddyAllocator.Block, _ size: Int) {
      let frame = Int(block.frame.number)
      #expect(frame.isMultiple(of: size))
      #expect(isFreeRun(frame, size), "seed \(seed): \(frame)+\(size) was in use")
      if block.isZeroed {
        #expect(!wasUsed[frame..<(frame + size)].contains(true), "used bytes called zero")
      }
      for index in frame..<(frame + size) {
        isFree[index] = false
        wasUsed[index] = true
      }
      blocks.append((frame, size))
    }

    for _ in 0..<3000 {
      let exponent = Int.random(in: 0...9, using: &chance)
      let order = FrameOrder(exponent)
      let size = 1 << exponent
      switch Int.random(in: 0..<5, using: &chance) {
      case 0, 1:
        if let block = buddy.allocate(order, as: .anonymous) {
          take(block, size)
        } else {
          let free = stride(from: 0, to: count, by: size).contains { isFreeRun($0, size) }
          #expect(!free, "seed \(seed): a run of \(size) was free and refused")
        }
      case 2 where exponent == 0:
        // All frames lie low here: any that is free will do.
        let block = buddy.allocateFrame(in: .below4G, as: .table)
        #expect((block != nil) == isFree.contains(true))
        if let block { take(block, 1) }
      case 2:
        let frame = Int.random(in: 0..<count, using: &chance) & ~(size - 1)
        let expected = isFreeRun(frame, size)
        let block = buddy.allocate(at: HostFrame(UInt64(frame)), order, as: .file)
        #expect((block != nil) == expected)
        if let block {
          #expect(Int(block.frame.number) == frame)
          take(block, size)
        }
      default:
        guard let index = blocks.indices.randomElement(using: &chance) else { continue }
        let block = blocks.remove(at: index)
        buddy.free(HostFrame(UInt64(block.frame)))
        for frame in block.frame..<(block.frame + block.size) { isFree[frame] = true }
      }
      #expect(buddy.freeCount == UInt64(isFree.count { $0 }))
    }
    for block in blocks {
      for frame in block.frame..<(block.frame + block.size) {
        #expect(arena.records.head(of: HostFrame(UInt64(frame)))?.number == UInt64(block.frame))
      }
    }
  }

  @Test("a frame below 4 GiB is found behind any number of high ones, and only there")
  func lowFrames() throws {
    let low: UInt64 = 1 << 20
    let arena = try TestArena(frames: low * 2)
    defer { withExtendedLifetime(arena) {} }
    var buddy = BuddyAllocator(
      records: arena.records, frames: HostFrame(low - 512)..<HostFrame(low * 2))
    // The arena is cut as far as it goes, so that high blocks stand first on their lists.
    let high = buddy.allocate(at: HostFrame(low * 2 - 1), .page4K, as: .anonymous)
    #expect(high != nil)
    for _ in 0..<512 {
      let frame = try need(buddy.allocateFrame(in: .below4G, as: .table)).frame
      #expect(FrameZone.below4G.contains(frame))
    }
    let none = buddy.allocateFrame(in: .below4G, as: .table)
    #expect(none == nil)
    let anywhere = buddy.allocateFrame(in: .anywhere, as: .table)
    #expect(anywhere.map { FrameZone.below4G.contains($0.frame) } == false)
  }

  @Test("what was handed out merges back into the blocks of the start")
  func merges() throws {
    let arena = try TestArena(frames: 4096)
    defer { withExtendedLifetime(arena) {} }
    var buddy = BuddyAllocator(records: arena.records, frames: HostFrame(0)..<HostFrame(4096))
    var frames: [HostFrame] = []
    while let block = buddy.allocate(.page4K, as: .anonymous) { frames.append(block.frame) }
    #expect(Set(frames).count == 4096)
    var chance = Chance(seed: 7)
    for frame in frames.shuffled(using: &chance) { buddy.free(frame) }
    #expect(buddy.freeBlocks(FrameOrder(12)) == 1)
    #expect(buddy.freeCount == 4096)
  }

  @Test("a block cut in place is freed piece by piece")
  func splits() throws {
    let arena = try TestArena(frames: 1024)
    defer { withExtendedLifetime(arena) {} }
    var buddy = BuddyAllocator(records: arena.records, frames: HostFrame(0)..<HostFrame(1024))
    let block = try need(buddy.allocate(.page2M, as: .anonymous))
    arena.records.markDirty(block.frame + 77)
    buddy.split(block.frame, into: .page4K)
    for offset in 0..<512 as Range<UInt64> {
      let frame = block.frame + offset
      #expect(arena.records.head(of: frame) == frame)
      #expect(arena.records.isDirty(frame))
      buddy.free(frame)
    }
    #expect(buddy.freeBlocks(FrameOrder(10)) == 1)
  }

  @Test("giving a block back twice traps")
  func doubleFree() async {
    await #expect(processExitsWith: .failure) {
      let arena = try TestArena(frames: 64)
      defer { withExtendedLifetime(arena) {} }
      var buddy = BuddyAllocator(records: arena.records, frames: HostFrame(0)..<HostFrame(64))
      guard let block = buddy.allocate(.page4K, as: .table) else { return }
      buddy.free(block.frame)
      buddy.free(block.frame)
    }
  }
}
