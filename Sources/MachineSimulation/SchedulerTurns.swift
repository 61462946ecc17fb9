import MachineEvents

/// Whose turn it is: the decisions of one run, without the threads that carry them out.
///
/// An actor that waits can go on again when somebody else has made a step since. When all who are
/// left wait, everybody looks once more, some rounds long: a lock that was let go between two
/// points is found so. Who then still waits is stuck.
struct SchedulerTurns {
  /// How far a run may go.
  let limits: Scheduler.Limits
  /// What was decided.
  private(set) var history = ScheduleHistory()
  /// Who has its turn.
  private(set) var current: Int?

  private var actors: [Actor]
  private var quietRounds = 0
  private var generator = SeededGenerator(0)
  private var interval: UInt64 = 1
  private var schedule: [Int] = []
  private var position = 0
  private let isSeeded: Bool

  private struct Actor {
    var hasEnded = false
    /// Where it waits, if it does.
    var waitsAt: InterleavingPoint?
    /// Whether it has looked since somebody else last made a step.
    var isStale = false
    /// Where it last was that it did not wait.
    var last: InterleavingPoint?
  }

  init(_ policy: SchedulePolicy, actors count: Int, limits: Scheduler.Limits) {
    actors = Array(repeating: Actor(), count: count)
    self.limits = limits
    switch policy {
    case .seeded(let seed):
      isSeeded = true
      generator = SeededGenerator(seed)
      interval = generator.pick([1, 2, 4, 16])
    case .fixed(let list):
      isSeeded = false
      schedule = list
    }
  }

  /// Who begins.
  mutating func begin() -> Int? { decide(nil, 0) }

  /// Who goes on after the current actor has reached a point; `nil` when nobody does any more.
  mutating func reached(_ point: InterleavingPoint, _ number: UInt64) -> Int? {
    guard let current else { preconditionFailure("points are reached by whoever has the turn") }
    if point.isWaiting {
      // It got here from somewhere, so that others may find something changed.
      if actors[current].waitsAt == nil { somethingHappened() }
      actors[current].waitsAt = point
      actors[current].isStale = true
    } else {
      somethingHappened()
      actors[current].waitsAt = nil
      actors[current].last = point
    }
    return decide(point, number)
  }

  /// Who goes on after the current actor's body has returned.
  mutating func ended() -> Int? {
    guard let current else { preconditionFailure("whoever ends has the turn") }
    actors[current].hasEnded = true
    somethingHappened()
    return decide(nil, 0)
  }

  private mutating func somethingHappened() {
    quietRounds = 0
    for index in actors.indices { actors[index].isStale = false }
  }

  private mutating func decide(_ point: InterleavingPoint?, _ number: UInt64) -> Int? {
    var candidates = mask { !$0.hasEnded && !$0.isStale }
    if candidates == 0 {
      quietRounds += 1
      candidates = mask { !$0.hasEnded }
      for index in actors.indices { actors[index].isStale = false }
    }
    var next: Int?
    if candidates == 0 {
      history.outcome = .ended
    } else if quietRounds > limits.quietRounds {
      history.outcome = .stuck(waiters)
    } else if history.decisions.count >= limits.decisions {
      history.outcome = .endless(decisions: history.decisions.count)
    } else {
      next = choose(candidates)
    }
    history.decisions.append(
      ScheduleHistory.Decision(
        actor: current, point: point, number: number, candidates: candidates, next: next))
    current = next
    return next
  }

  private var waiters: [ScheduleHistory.Waiter] {
    actors.indices.compactMap { index in
      guard !actors[index].hasEnded, let point = actors[index].waitsAt else { return nil }
      return ScheduleHistory.Waiter(actor: index, point: point, last: actors[index].last)
    }
  }

  private func mask(_ condition: (Actor) -> Bool) -> UInt64 {
    var mask: UInt64 = 0
    for index in actors.indices where condition(actors[index]) { mask |= 1 << UInt64(index) }
    return mask
  }

  private mutating func choose(_ candidates: UInt64) -> Int {
    let lowest = candidates.trailingZeroBitCount
    guard candidates.nonzeroBitCount > 1 else { return lowest }
    let running = current.flatMap { candidates >> UInt64($0) & 1 == 1 ? $0 : nil }
    if isSeeded {
      if let running, !generator.chance(1, in: interval) { return running }
      var left = generator.below(candidates.nonzeroBitCount)
      var rest = candidates
      while left > 0 {
        rest &= rest - 1
        left -= 1
      }
      return rest.trailingZeroBitCount
    }
    if position < schedule.count {
      let wanted = schedule[position]
      position += 1
      if 0..<64 ~= wanted, candidates >> UInt64(wanted) & 1 == 1 { return wanted }
    }
    return running ?? lowest
  }
}
