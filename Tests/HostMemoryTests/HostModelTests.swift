import HostMemory
import PagingUnits
import SparseMemory
import Testing

/// Long random lives of a process against plain arrays.
@Suite struct HostModelTests {
  static let pages: UInt64 = 512 + 64

  /// What the pages of a process should hold, and those of its forked copy.
  struct Model {
    var words = [UInt64](repeating: 0, count: Int(pages))
    var copy = [UInt64?](repeating: nil, count: Int(pages))
    var isReadOnly = [Bool](repeating: false, count: Int(pages))
  }

  @Test(
    "through every change the bytes are those of an array, and each mapping is counted",
    arguments: 0..<12 as Range<UInt64>)
  func life(seed: UInt64) throws {
    try withProcess(frames: 1 << 13) { space in
      var chance = Chance(seed: seed &+ 1000)
      let recorder = Recorder()
      let start = try space.anonymous(
        Self.pages << 12, largest: seed.isMultiple(of: 2) ? .page2M : .page4K)
      var model = Model()
      for step in 0..<500 {
        let what = Self.change(space, start, &model, &chance, recorder)
        check(recorder.open.isEmpty, "seed \(seed) step \(step) \(what)")
        // The pages where most changes fall each time, all now and then.
        let isThorough = step.isMultiple(of: 10)
        let pages = isThorough ? model.words.indices : 0..<24
        let wrong = Self.firstDifference(space, start, model, pages)
        check(wrong == nil, "seed \(seed) step \(step) \(what): page \(wrong ?? 0)")
        let faults = isThorough ? HostAudit.faults(space) : []
        check(faults.isEmpty, "seed \(seed) step \(step) \(what): \(faults)")
        if wrong != nil || !faults.isEmpty { return }
      }
    }
  }

  static func firstDifference(
    _ space: borrowing HostAddressSpace, _ start: HostVirtual, _ model: Model, _ pages: Range<Int>
  ) -> Int? {
    pages.first { page in
      let address = start + UInt64(page) << 12
      return space.word(at: address) != model.words[page]
        || space.word(at: address + 0xFF8) != model.words[page]
        || space.wordOfCopy(at: address) != model.copy[page]
    }
  }

  /// Makes one change to both; its name.
  static func change(
    _ space: borrowing HostAddressSpace, _ start: HostVirtual, _ model: inout Model,
    _ chance: inout Chance, _ recorder: Recorder
  ) -> String {
    // Most changes fall into a few pages, so that they meet.
    let span: UInt64 = chance.next() & 3 == 0 ? pages : 24
    let first = chance.next() % span
    let count = min(1 + chance.next() % 12, pages - first)
    let address = start + first << 12
    let range = address..<(address + count << 12)
    let other = start + (chance.next() % span) << 12
    let touched = Int(first)..<Int(first + count)
    switch chance.next() % 16 {
    case 0, 1, 2, 3:
      let value = chance.next() & 3
      let isDone = space.poke(value, at: address, telling: recorder) == .complete
      // The last word follows, so that whole pages are seen to move.
      if isDone { _ = space.poke(value, at: address + 0xFF8, telling: recorder) }
      check(isDone != model.isReadOnly[Int(first)])
      if isDone { model.words[Int(first)] = value }
      return "write"
    case 4:
      check(space.peek(address, telling: recorder) == model.words[Int(first)])
      return "read"
    case 5:
      _ = space.swapOut(range, telling: recorder)
      for page in touched {
        check(space.lookUpMapped(start + UInt64(page) << 12, for: .write) == nil)
      }
      return "swap out"
    case 6:
      _ = space.swapIn(range)
      return "swap in"
    case 7:
      _ = space.migrate(address, telling: recorder)
      return "migrate"
    case 8:
      _ = space.merge(address, into: other, telling: recorder)
      return "merge"
    case 9:
      _ = space.merge(range, telling: recorder)
      return "merge a range"
    case 10:
      // The copy gets what has a frame or a place; untouched pages and zeros it finds by itself.
      let shared = touched.filter { page in
        space.content(at: start + UInt64(page) << 12) != .zeros
      }
      let outcome = space.shareForCopy(range, telling: recorder)
      check(outcome == (shared.isEmpty ? .nothingThere : .done))
      for page in shared { model.copy[page] = model.words[page] }
      return "share"
    case 11:
      space.dropCopy(of: range)
      for page in touched { model.copy[page] = nil }
      return "drop the copy"
    case 12:
      _ = space.writeProtect(range, telling: recorder)
      check(space.lookUpMapped(address, for: .write) == nil)
      return "write-protect"
    case 13:
      _ = space.unmap(range, telling: recorder)
      for page in touched { model.words[page] = 0 }
      return "unmap"
    case 14:
      let isReadOnly = chance.next() & 1 == 0
      try? space.protect(range, isReadOnly ? .readOnly : .readWrite, telling: recorder)
      for page in touched { model.isReadOnly[page] = isReadOnly }
      return "protect"
    default:
      if chance.next() & 3 == 0 {
        let all = start..<(start + pages << 12)
        try? space.protect(all, .readWrite, telling: recorder)
        for page in model.isReadOnly.indices { model.isReadOnly[page] = false }
        space.dropCopy(of: all)
        for page in model.copy.indices { model.copy[page] = nil }
        _ = space.collapse(at: start, to: .page2M, telling: recorder)
        return "collapse"
      }
      _ = space.split(at: address, telling: recorder)
      return "split"
    }
  }

  @Test(
    "a file's bytes are one array for all who share it, whatever becomes of its pages",
    arguments: 0..<8 as Range<UInt64>)
  func file(seed: UInt64) throws {
    try withProcess(frames: 1 << 12) { space in
      var chance = Chance(seed: seed)
      let recorder = Recorder()
      let file = HostFile(seed: seed, byteCount: 8 << 12)
      let id = try space.open(file)
      var starts: [HostVirtual] = []
      for sharing in [HostFileSharing.shared, .shared, .copyOnWrite] {
        starts.append(
          try space.add(.init(byteCount: 8 << 12, backing: .file(id, offset: 0, sharing))))
      }
      var shared = (0..<8 as Range<UInt64>).map { file.word($0 << 9) }
      var own = [UInt64?](repeating: nil, count: 8)
      for step in 0..<600 {
        let page = Int(chance.next() & 7)
        let row = Int(chance.next() % 3)
        let address = starts[row] + UInt64(page) << 12
        let range = address..<(address + 4096)
        switch chance.next() % 9 {
        case 0, 1, 2:
          let value = chance.next() & 3
          check(space.poke(value, at: address, telling: recorder) == .complete)
          if row == 2 { own[page] = value } else { shared[page] = value }
        case 3: _ = space.peek(address, telling: recorder)
        case 4: _ = space.swapOut(address, telling: recorder)
        case 5: _ = space.migrate(address, telling: recorder)
        case 6:
          _ = space.unmap(range, telling: recorder)
          if row == 2 { own[page] = nil }
        case 7: _ = space.writeProtect(range, telling: recorder)
        default: _ = space.shareForCopy(range, telling: recorder)
        }
        let faults = step.isMultiple(of: 10) ? HostAudit.faults(space) : []
        check(faults.isEmpty && recorder.open.isEmpty, "seed \(seed) step \(step): \(faults)")
        for page in 0..<8 {
          let words = starts.map { space.word(at: $0 + UInt64(page) << 12) }
          check(words == [shared[page], shared[page], own[page] ?? shared[page]])
        }
      }
    }
  }

  /// A process with a huge page, merged, swapped and shared pages.
  static func prepared(_ space: borrowing HostAddressSpace) throws -> HostVirtual {
    let start = try space.anonymous(pages << 12, largest: .page2M)
    for page in [0, 512, 513, 514, 515, 516] as [UInt64] {
      for offset in [0, 0xFF8] as [UInt64] {
        check(space.poke(page / 514 + 1, at: start + page << 12 + offset) == .complete)
      }
    }
    _ = space.merge(start + 513 << 12, into: start + 512 << 12, telling: Unnotified())
    _ = space.swapOut(start + 514 << 12, telling: Unnotified())
    _ = space.shareForCopy((start + 515 << 12)..<(start + 516 << 12), telling: Unnotified())
    return start
  }

  @Test("whichever allocation a change is refused, it leaves bytes, counts and frames right")
  func refusals() throws {
    for change in 0..<9 {
      var number: UInt64 = 1
      var isRefused = true
      while isRefused {
        try withProcess(frames: 1 << 13) { space in
          let start = try Self.prepared(space)
          let before = Self.state(space, start)
          let recorder = Recorder()
          space.host.refuse(.once(number))
          let outcome = Self.change(change, space, start, recorder)
          isRefused = space.host.allocationCount >= number
          space.host.refuse(.never)
          if isRefused { check(outcome == .outOfFrames, "change \(change), refusal \(number)") }
          let faults = HostAudit.faults(space)
          check(faults.isEmpty, "change \(change), refusal \(number): \(faults)")
          check(recorder.open.isEmpty)
          let after = Self.state(space, start)
          check(after.words == before.words, "change \(change), refusal \(number)")
          if isRefused {
            check(after.frames == before.frames, "change \(change), refusal \(number)")
            check(after.copy == before.copy, "change \(change), refusal \(number)")
          }
        }
        number += 1
      }
      #expect(number > 2 || change == 0, "change \(change) needs no frame")
    }
  }

  struct State {
    var words: [UInt64?] = []
    var copy: [UInt64?] = []
    var frames: [UInt64] = []
  }

  static func state(_ space: borrowing HostAddressSpace, _ start: HostVirtual) -> State {
    var state = State()
    for page in 0..<pages {
      state.words.append(space.word(at: start + page << 12))
      state.copy.append(space.wordOfCopy(at: start + page << 12))
    }
    state.frames = [FrameKind.anonymous, .file, .swapped].map { space.host.frames($0) }
    return state
  }

  static func change(
    _ number: Int, _ space: borrowing HostAddressSpace, _ start: HostVirtual, _ recorder: Recorder
  ) -> HostChangeOutcome {
    let page = start + 516 << 12
    switch number {
    // Without a frame: nothing can be refused.
    case 0: return space.writeProtect(page..<(page + 4096), telling: recorder)
    case 1: return space.swapOut(page, telling: recorder)
    case 2: return space.swapOut(start + 5 << 12, telling: recorder)
    case 3: return space.swapOut(start + 512 << 12, telling: recorder)
    case 4: return space.swapIn(start + 514 << 12)
    case 5: return space.migrate(start + 512 << 12, telling: recorder)
    case 6: return space.shareForCopy(start..<(start + pages << 12), telling: recorder)
    case 7:
      let answer = space.lookUp(start + 514 << 12, for: .write, telling: recorder)
      return answer == .refused ? .outOfFrames : .done
    default:
      let answer = space.lookUp(start + 515 << 12, for: .write, telling: recorder)
      return answer == .refused ? .outOfFrames : .done
    }
  }

  @Test("threads that use pages while they are swapped, shared and merged keep their bytes")
  func threads() async throws {
    let arena = try TestArena(frames: 1 << 14)
    defer { withExtendedLifetime(arena) {} }
    let host = HostMemory(memory: arena.bytes.memory, records: arena.records)
    do {
      let shared = SendableSpace(try HostAddressSpace(sharing: host))
      let start = try shared.space.anonymous(64 << 12)
      await withTaskGroup(of: Bool.self) { group in
        for thread in 0..<2 as Range<UInt64> {
          group.addTask {
            var chance = Chance(seed: thread)
            for step in 0..<1500 as Range<UInt64> {
              let address = start + (chance.next() & 63) << 12 + thread * 8
              guard shared.space.poke(step & 3, at: address) == .complete,
                shared.space.peek(address) == step & 3
              else { return false }
            }
            return true
          }
        }
        for thread in 0..<2 as Range<UInt64> {
          group.addTask {
            var chance = Chance(seed: 90 + thread)
            for _ in 0..<600 {
              let address = start + (chance.next() & 63) << 12
              let range = address..<(address + 4096)
              switch chance.next() % 6 {
              case 0: _ = shared.space.swapOut(address, telling: Unnotified())
              case 1: _ = shared.space.swapIn(address)
              case 2: _ = shared.space.shareForCopy(range, telling: Unnotified())
              case 3: shared.space.dropCopy(of: range)
              case 4: _ = shared.space.merge(address, into: start, telling: Unnotified())
              default: _ = shared.space.migrate(address, telling: Unnotified())
              }
            }
            return true
          }
        }
        for await isRight in group { check(isRight) }
      }
      let faults = HostAudit.faults(shared.space)
      check(faults.isEmpty, "\(faults)")
    }
    let isClean = hasNoPages(host)
    check(isClean)
  }
}
