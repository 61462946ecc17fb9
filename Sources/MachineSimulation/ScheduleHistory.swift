public import MachineEvents

/// Who ran when: everything that a scheduler decided in one run.
///
/// The same policy over the same bodies gives the same history, byte for byte.
public struct ScheduleHistory: Hashable, Sendable {
  /// What happened at one point, and who went on.
  public struct Decision: Hashable, Sendable {
    /// Who reached the point; `nil` when nobody ran yet.
    public var actor: Int?
    /// The point; `nil` at the beginning of the run and at an actor's end.
    public var point: InterleavingPoint?
    /// The number that the point is about; 0 without one.
    public var number: UInt64
    /// Who could go on, one bit an actor.
    public var candidates: UInt64
    /// Who went on; `nil` when nobody could or nobody was left.
    public var next: Int?

    /// Whether there was anything to decide.
    public var isChoice: Bool { candidates.nonzeroBitCount > 1 }
  }

  /// How a run came to its end.
  public enum Outcome: Hashable, Sendable {
    /// Every body returned.
    case ended
    /// Nobody got anywhere any more: everybody left waits for somebody else.
    case stuck([Waiter])
    /// The limit of decisions was reached.
    case endless(decisions: Int)
  }

  /// Somebody who waits in vain.
  public struct Waiter: Hashable, Sendable {
    /// Who.
    public var actor: Int
    /// Where.
    public var point: InterleavingPoint
    /// The point at which it last was not waiting, if any: what it was about.
    public var last: InterleavingPoint?
  }

  /// All decisions, the first of them who begins.
  public internal(set) var decisions: [Decision] = []
  /// How the run ended.
  public internal(set) var outcome = Outcome.ended

  /// No decision yet.
  init() {}

  /// The list that makes `.fixed` repeat this history: who went on wherever there was a choice.
  public var schedule: [Int] { decisions.compactMap { $0.isChoice ? $0.next : nil } }

  /// The order of events: who reached which point, without what could have been.
  public var order: [Event] {
    decisions.compactMap { decision in
      decision.actor.map { Event(actor: $0, point: decision.point) }
    }
  }

  /// Somebody reached a point, or its end.
  public struct Event: Hashable, Sendable {
    /// Who.
    public var actor: Int
    /// Where; `nil` at its end.
    public var point: InterleavingPoint?
  }

  /// A number that differs where histories differ.
  public var digest: HistoryDigest {
    var digest = HistoryDigest()
    for decision in decisions {
      digest.add(UInt8(truncatingIfNeeded: decision.actor ?? 0xFF))
      digest.add(decision.point?.rawValue ?? 0xFF)
      digest.add(decision.number)
      digest.add(UInt8(truncatingIfNeeded: decision.next ?? 0xFF))
    }
    return digest
  }

  /// One line a decision, and how it ended.
  public var text: String {
    var text = ""
    for decision in decisions {
      let actor = decision.actor.map { "\($0)" } ?? "-"
      let point = decision.point.map { "\($0)" } ?? (decision.actor == nil ? "begin" : "end")
      let number = decision.number == 0 ? "" : " 0x" + String(decision.number, radix: 16)
      let next = decision.next.map { "\($0)" } ?? "-"
      text += "\(actor) \(point)\(number) > \(next)\n"
    }
    return text + outcome.description + "\n"
  }
}

extension ScheduleHistory.Outcome: CustomStringConvertible {
  /// One line; who waits where, if anybody.
  public var description: String {
    switch self {
    case .ended: return "ended"
    case .endless(let decisions): return "no end after \(decisions) decisions"
    case .stuck(let waiters):
      let lines = waiters.map { waiter in
        let last = waiter.last.map { ", last at \($0)" } ?? ""
        return "actor \(waiter.actor) waits at \(waiter.point)\(last)"
      }
      return "stuck: " + lines.joined(separator: "; ")
    }
  }
}
