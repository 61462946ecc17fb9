import MachineEvents
import PageTables
import Testing

@testable import MachineSimulation

/// Something that several bodies change; only one of them runs at a time.
private final class Log: @unchecked Sendable {
  var lines: [String] = []
  var isInside = false
  let first: YieldingLock
  let second: YieldingLock
  let tables: MMULock

  init(_ interleaver: Interleaver = Interleaver()) {
    first = YieldingLock(interleaver: interleaver)
    second = YieldingLock(interleaver: interleaver)
    tables = MMULock(interleaver: interleaver)
  }
}

@Suite("The scheduler")
struct SchedulerTests {
  /// Three bodies that each reach a point four times.
  private func history(
    _ policy: SchedulePolicy, with scheduler: Scheduler? = nil
  ) -> (ScheduleHistory, [String]) {
    let scheduler = scheduler ?? Scheduler(policy)
    scheduler.policy = policy
    let interleaver = scheduler.interleaver
    let log = Log()
    let bodies = (0..<3).map { actor in
      {
        for step in 0..<4 {
          precondition(!log.isInside, "one thread runs at a time")
          log.isInside = true
          log.lines.append("\(actor).\(step)")
          log.isInside = false
          interleaver.reach(.betweenEntries, UInt64(step))
        }
      }
    }
    let history = scheduler.run(bodies)
    return (history, log.lines)
  }

  @Test("the same seed gives the same history, byte for byte, and seeds differ")
  func sameSeed() {
    var digests: Set<HistoryDigest> = []
    let scheduler = Scheduler(.seeded(0))
    for seed in 0..<100 as Range<UInt64> {
      let (first, lines) = history(.seeded(seed))
      let (again, sameLines) = history(.seeded(seed), with: scheduler)
      #expect(first == again)
      #expect(first.text == again.text)
      #expect(lines == sameLines)
      #expect(first.outcome == .ended)
      #expect(lines.count == 12)
      digests.insert(first.digest)
    }
    #expect(digests.count > 50)
  }

  @Test("a fixed schedule runs whom it names, and behind its end whoever runs goes on")
  func fixedSchedule() {
    let (history, lines) = history(.fixed([2, 1, 1, 0]))
    #expect(
      lines == [
        "2.0", "1.0", "1.1", "0.0", "0.1", "0.2", "0.3", "1.2", "1.3", "2.1", "2.2", "2.3",
      ])
    #expect(history.outcome == .ended)
  }

  @Test("a history's own schedule repeats it")
  func replay() {
    for seed in 0..<50 as Range<UInt64> {
      let (first, lines) = history(.seeded(seed))
      let (again, sameLines) = history(.fixed(first.schedule))
      #expect(first == again)
      #expect(lines == sameLines)
    }
  }

  @Test("two bodies that lock in opposite order are reported, with who waits where")
  func deadlock() {
    // Held by the bodies, and so leaked with their threads.
    let scheduler = Scheduler(.fixed([0, 1]))
    let log = Log(scheduler.interleaver)
    let stuck = scheduler.run([
      {
        log.first.lock()
        log.second.lock()
        log.second.unlock()
        log.first.unlock()
      },
      {
        log.second.lock()
        log.first.lock()
        log.first.unlock()
        log.second.unlock()
      },
    ])
    #expect(
      stuck.outcome
        == .stuck([
          .init(actor: 0, point: .waitingForLock, last: .lockTaken),
          .init(actor: 1, point: .waitingForLock, last: .lockTaken),
        ]))
    #expect(stuck.text.contains("actor 1 waits at waitingForLock, last at lockTaken"))
    // The scheduler itself can go on, with new threads.
    let (after, lines) = history(.seeded(3), with: scheduler)
    #expect(after.outcome == .ended)
    #expect(lines.count == 12)
  }

  @Test(
    "an MMU lock and an operations lock in opposite order are a deadlock in some schedules only")
  func lockOrder() {
    var outcomes: [Bool: Int] = [:]
    for seed in 0..<60 as Range<UInt64> {
      let scheduler = Scheduler(.seeded(seed))
      let log = Log(scheduler.interleaver)
      let history = scheduler.run([
        {
          log.first.lock()
          log.tables.lockShared()
          log.tables.unlockShared()
          log.first.unlock()
        },
        {
          log.tables.lockExclusive()
          log.first.lock()
          log.first.unlock()
          log.tables.unlockExclusive()
        },
      ])
      outcomes[history.outcome == .ended, default: 0] += 1
    }
    #expect(outcomes[true, default: 0] > 5)
    #expect(outcomes[false, default: 0] > 5)
  }

  @Test("who waits is asked again only when somebody else has made a step")
  func waitersRest() {
    for seed in 0..<50 as Range<UInt64> {
      let scheduler = Scheduler(.seeded(seed))
      let interleaver = scheduler.interleaver
      let log = Log()
      let history = scheduler.run([
        { while log.lines.count < 10 { interleaver.reach(.waitingForLock) } },
        {
          for step in 0..<10 {
            log.lines.append("\(step)")
            interleaver.reach(.betweenEntries)
          }
        },
      ])
      #expect(history.outcome == .ended)
      let looks = history.decisions.filter { $0.actor == 0 && $0.point == .waitingForLock }.count
      #expect(looks <= 11)
    }
  }

  @Test("bodies without an end are stopped at the limit")
  func endless() {
    var limits = Scheduler.Limits()
    limits.decisions = 1000
    let scheduler = Scheduler(.seeded(1), limits: limits)
    let interleaver = scheduler.interleaver
    let history = scheduler.run([
      { while true { interleaver.reach(.betweenEntries) } },
      { interleaver.reach(.betweenEntries) },
    ])
    #expect(history.outcome == .endless(decisions: 1000))
  }

  @Test("an exploration tries every schedule within its bound exactly once", arguments: 0...3)
  func exploration(interruptions: Int) {
    let scheduler = Scheduler(.fixed([]))
    let interleaver = scheduler.interleaver
    let explorer = ScheduleExplorer(interruptions: interruptions)
    let seen = explorer.explore { policy in
      scheduler.policy = policy
      return scheduler.run([
        { interleaver.reach(.betweenEntries) }, { interleaver.reach(.betweenEntries) },
      ])
    }
    // Two halves each: one body after the other, one around the other, or in turns.
    let expected = [2, 4, 6, 6][interruptions]
    #expect(seen.runs == expected)
    #expect(seen.orders.count == expected)
    #expect(seen.isExhaustive)
  }

  @Test("outside a run a point lets nobody in")
  func outside() {
    let scheduler = Scheduler(.seeded(1))
    scheduler.interleaver.reach(.betweenEntries)
    #expect(scheduler.runningActor == nil)
    let empty = scheduler.run([{}])
    #expect(empty.outcome == .ended)
    #expect(empty.decisions.count == 2)
  }
}

@Suite("Chance by seed")
struct SeededGeneratorTests {
  @Test("the numbers are those of SplitMix64")
  func published() {
    // The sequence that the algorithm's authors and Java's SplittableRandom give for this seed.
    var generator = SeededGenerator(1_234_567)
    let numbers = (0..<3).map { _ in generator.next() }
    #expect(
      numbers == [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423])
  }

  @Test("choices reach every value in range, and weights of 0 never")
  func choices() {
    var generator = SeededGenerator(9)
    var seen = [0, 0, 0, 0, 0]
    for _ in 0..<1000 { seen[generator.below(5)] += 1 }
    #expect(seen.allSatisfy { $0 > 120 })
    for _ in 0..<1000 { #expect((generator.pick(weighted: [0, 3, 0, 1]) ?? 0) % 2 == 1) }
    #expect(generator.pick(weighted: [0, 0]) == nil)
  }
}
