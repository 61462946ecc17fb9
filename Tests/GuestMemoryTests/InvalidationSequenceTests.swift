import GuestMemory
import MachineEvents
import PagingUnits
import Testing

@Suite struct InvalidationSequenceTests {
  func frames(_ range: Range<UInt64>) -> Range<GuestFrame> {
    GuestFrame(range.lowerBound)..<GuestFrame(range.upperBound)
  }

  @Test("while an invalidation is in progress, its frames retry and others do not")
  func inProgress() {
    let sequence = InvalidationSequence()
    let moment = sequence.moment
    sequence.begin()
    sequence.add(frames(10..<20))
    for (frame, expected) in [(9, false), (10, true), (19, true), (20, false)] {
      let must = sequence.mustRetry(GuestFrame(UInt64(frame)), since: moment)
      let early = sequence.shouldRetryEarly(GuestFrame(UInt64(frame)), since: moment)
      #expect(must == expected && early == expected)
    }
    sequence.end()
    let now = sequence.moment
    let fresh = sequence.mustRetry(GuestFrame(15), since: now)
    #expect(!fresh)
  }

  @Test("an invalidation that ended makes every fault of before retry, once")
  func ended() {
    let sequence = InvalidationSequence()
    let before = sequence.moment
    sequence.begin()
    let during = sequence.moment
    #expect(before == during, "only the end moves the sequence")
    sequence.add(frames(10..<20))
    sequence.end()
    for moment in [before, during] {
      let must = sequence.mustRetry(GuestFrame(1000), since: moment)
      let early = sequence.shouldRetryEarly(GuestFrame(1000), since: moment)
      #expect(must && early)
    }
    #expect(sequence.moment != before)
  }

  @Test("ranges in progress merge and do not shrink before the last has ended")
  func union() {
    let sequence = InvalidationSequence()
    sequence.begin()
    sequence.add(frames(10..<20))
    sequence.begin()
    sequence.add(frames(40..<50))
    sequence.end()
    let moment = sequence.moment
    let between = [5, 15, 30, 45, 50].map { frame in
      sequence.mustRetry(GuestFrame(frame), since: moment)
    }
    #expect(between == [false, true, true, true, false])
    sequence.end()
    sequence.begin()
    sequence.add(frames(100..<101))
    let later = sequence.moment
    let after = [30, 100].map { frame in sequence.mustRetry(GuestFrame(frame), since: later) }
    #expect(after == [false, true], "a new first invalidation starts with its own range")
    sequence.end()
    let isInProgress = sequence.isInProgress
    #expect(!isInProgress)
  }

  @Test("in progress with no range said yet, the locked question assumes the worst")
  func noRange() {
    let sequence = InvalidationSequence()
    let moment = sequence.moment
    sequence.begin()
    let must = sequence.mustRetry(GuestFrame(1), since: moment)
    let early = sequence.shouldRetryEarly(GuestFrame(1), since: moment)
    #expect(must && !early)
    sequence.end()
  }

  @Test("memslots are not published while a notifier is between its begin and its end")
  func holds() async {
    let shared = SharedSequence()
    shared.sequence.notifierBegan()
    #expect(shared.sequence.activeNotifiers == 1)
    await withTaskGroup(of: Int.self) { group in
      group.addTask {
        shared.sequence.holdNotifiers()
        let active = shared.sequence.activeNotifiers
        shared.sequence.memslotsPublished()
        return active
      }
      group.addTask {
        shared.sequence.notifierBegan()
        shared.sequence.notifierEnded()
        shared.sequence.notifierEnded()
        return 0
      }
      for await active in group { #expect(active == 0) }
    }
  }

  @Test("an end without a begin traps")
  func unbalanced() async {
    await #expect(processExitsWith: .failure) { InvalidationSequence().end() }
  }
}

final class SharedSequence: Sendable {
  let sequence = InvalidationSequence()
}
