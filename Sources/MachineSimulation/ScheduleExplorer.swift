import MachineEvents

/// Tries the schedules of some bodies one after another, those with the fewest interruptions first.
///
/// Most races need one or two interruptions at the right points (Musuvathi and Qadeer, "Iterative
/// Context Bounding for Systematic Testing of Multithreaded Programs", 2007). An interruption is a
/// point at which somebody could have gone on and another went on instead; whom to wake when
/// somebody waits or ends is a choice that costs nothing. No schedule is tried twice, and every one
/// within the bound is tried, as long as the limit of runs allows; where it does not, those tried
/// are a fair sample.
public struct ScheduleExplorer: Sendable {
  /// The most interruptions of a schedule.
  public var interruptions: Int
  /// The most runs.
  public var limit: Int

  /// What an exploration saw.
  public struct Exploration: Hashable, Sendable {
    /// How many schedules were run.
    public internal(set) var runs = 0
    /// The digests of the distinct orders of events that came of them.
    public internal(set) var orders: Set<HistoryDigest> = []
    /// Whether every schedule within the bound was run.
    public internal(set) var isExhaustive = true
  }

  /// Schedules of at most so many interruptions, at most so many of them.
  public init(interruptions: Int = 2, limit: Int = 1000) {
    self.interruptions = interruptions
    self.limit = limit
  }

  /// Calls `run` with one policy after another; each run starts from the same state.
  public func explore<Failure: Error>(
    _ run: (SchedulePolicy) throws(Failure) -> ScheduleHistory
  ) throws(Failure) -> Exploration {
    var result = Exploration()
    // One list of schedules for each number of interruptions.
    var waiting: [[[Int]]] = Array(repeating: [], count: interruptions + 1)
    waiting[0] = [[]]
    // Shuffled, so that a limited exploration does not stay at the first points.
    var chance = SeededGenerator(0)
    while let cost = waiting.firstIndex(where: { !$0.isEmpty }) {
      var round = waiting[cost]
      for index in round.indices.dropFirst().reversed() {
        round.swapAt(index, chance.below(index + 1))
      }
      waiting[cost] = []
      for schedule in round {
        guard result.runs < limit else {
          result.isExhaustive = false
          return result
        }
        let history = try run(.fixed(schedule))
        result.runs += 1
        result.orders.insert(Self.digest(of: history.order))
        branch(history, behind: schedule.count, cost: cost, into: &waiting)
      }
    }
    return result
  }

  /// Adds the schedules that leave a history at one choice behind its prescribed part.
  private func branch(
    _ history: ScheduleHistory, behind start: Int, cost: Int, into waiting: inout [[[Int]]]
  ) {
    var chosen: [Int] = []
    for decision in history.decisions where decision.isChoice {
      guard let next = decision.next else { break }
      if chosen.count >= start {
        let goesOn = decision.actor.map { decision.candidates >> UInt64($0) & 1 == 1 } ?? false
        for other in 0..<64 where other != next && decision.candidates >> UInt64(other) & 1 == 1 {
          // Behind the prescribed part whoever can go on does, so that any other interrupts it.
          let total = cost + (goesOn ? 1 : 0)
          if total <= interruptions { waiting[total].append(chosen + [other]) }
        }
      }
      chosen.append(next)
    }
  }

  private static func digest(of order: [ScheduleHistory.Event]) -> HistoryDigest {
    var digest = HistoryDigest()
    for event in order {
      digest.add(UInt8(truncatingIfNeeded: event.actor))
      digest.add(event.point?.rawValue ?? 0xFF)
    }
    return digest
  }
}
