import Glibc
import Synchronization
import Testing

/// What one thread of the stress test does.
enum ParallelWork: Hashable, Sendable {
  /// A processor without paging, all over memory.
  case processor(Int)
  /// A processor that walks the guest's tables, and has the hypervisor walk them too.
  case walker(Int)
  /// A processor that wants the same few pages as others.
  case crowd(Int)
  /// A processor that changes the guest's tables, its mode and its mind.
  case editor(Int)
  /// The host moves, swaps, shares, merges, protects and drops pages.
  case mover
  /// The host splits and joins large pages.
  case sizer
  /// The host asks for the age of pages.
  case ager
  /// The VMM makes, moves, changes and deletes slots.
  case arranger
  /// The VMM makes every table obsolete.
  case zapper
  /// The VMM reads and writes the guest's bytes.
  case bytes
}

/// A sequence of numbers by seed.
struct Dice {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  /// A number below `sides`.
  mutating func roll(_ sides: UInt64) -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state % sides
  }

  /// A byte's address in a range.
  mutating func address(in range: Range<UInt64>) -> UInt64 {
    range.lowerBound + roll(range.upperBound - range.lowerBound)
  }
}

/// How often each thread's steps did something.
struct ParallelTally: Sendable {
  private var counts: [ParallelWork: Int] = [:]

  /// How many steps of a thread did something.
  func successes(of work: ParallelWork) -> Int { counts[work] ?? 0 }

  fileprivate mutating func add(_ count: Int, of work: ParallelWork) { counts[work] = count }
}

/// What the threads of one run share.
private final class ParallelRun: Sendable {
  let count: Int
  let ready = Atomic<Int>(0)

  init(count: Int) { self.count = count }

  /// Waits until all threads are here, so that they run at the same time.
  func begin() {
    ready.add(1, ordering: .relaxed)
    while ready.load(ordering: .relaxed) < count { sched_yield() }
  }
}

/// What a thread starts with, and what came of it.
private final class ParallelThread: Sendable {
  let body: @Sendable () -> Int
  let count = Atomic<Int>(0)
  init(_ body: @escaping @Sendable () -> Int) { self.body = body }

  func run() { count.store(body(), ordering: .relaxed) }
}

extension ParallelMachine {
  /// Runs each work on a thread of its own, `steps` steps each, until all have ended.
  ///
  /// Until then the threads have no order among them but what the machine's own locks give: a lock
  /// of the test's would hide races from the thread sanitizer.
  func run(_ work: [ParallelWork], seed: UInt64, steps: Int) -> ParallelTally {
    let run = ParallelRun(count: work.count)
    let threads = work.enumerated().map { index, part in
      ParallelThread {
        run.begin()
        var dice = Dice(seed &* 1000 &+ UInt64(index) &+ 1)
        return self.perform(part, &dice, steps: steps)
      }
    }
    var handles: [pthread_t] = []
    for thread in threads {
      var handle = pthread_t()
      // SAFETY: the array keeps the thread's object until the thread was joined.
      let context = unsafe Unmanaged.passUnretained(thread).toOpaque()
      let status = unsafe pthread_create(
        &handle, nil,
        { context in
          // SAFETY: the context is the object that was passed.
          if let context = unsafe context {
            unsafe Unmanaged<ParallelThread>.fromOpaque(context).takeUnretainedValue().run()
          }
          return nil
        }, context)
      precondition(status == 0, "a test can make a thread")
      handles.append(handle)
    }
    for handle in handles { pthread_join(handle, nil) }
    var tally = ParallelTally()
    for (part, thread) in zip(work, threads) {
      tally.add(thread.count.load(ordering: .relaxed), of: part)
    }
    return tally
  }

  /// Performs a thread's steps; how many of them did something.
  private func perform(_ work: ParallelWork, _ dice: inout Dice, steps: Int) -> Int {
    switch work {
    case .processor(let number): runProcessor(number, &dice, steps: steps * 8)
    case .walker(let number): runWalker(number, &dice, steps: steps * 8)
    case .crowd(let number): runCrowd(number, &dice, steps: steps * 8)
    case .editor(let number): runEditor(number, &dice, steps: steps * 4)
    case .mover: moveHost(&dice, steps: steps)
    case .sizer: resizeHost(&dice, steps: steps)
    case .ager: ageHost(&dice, steps: steps)
    case .arranger: arrange(&dice, steps: steps / 4)
    case .zapper: zap(steps: steps / 8)
    case .bytes: checkBytes(&dice, steps: steps * 2)
    }
  }
}
