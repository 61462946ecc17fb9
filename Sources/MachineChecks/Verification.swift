import Dispatch
import Synchronization

/// The comparison of the MMU's guest walk with the hardware model, format by format, over spaces
/// of cases that are gone through whole.
///
/// Each case is a mapping's entries, a control state and an access; compared are the outcome, the
/// error code, the translated address, what else the mapping permits, and the accessed and dirty
/// bits in memory afterwards.
public struct Verification: Sendable {
  /// How much of each space is gone through.
  public enum Extent: Hashable, Sendable {
    /// Every case.
    case whole
    /// About so many cases of each part, evenly spread and always the same.
    case about(UInt64)
  }

  /// What came of one format.
  public struct Report: Sendable {
    /// Which format.
    public let format: VerificationFormat
    /// The number of cases that were compared.
    public let cases: UInt64
    /// The time it took, in seconds.
    public let seconds: Double
    /// The first disagreement; `nil` when both sides agree on every case.
    public let disagreement: Disagreement?
  }

  /// How much of each space is gone through.
  public var extent = Extent.whole
  /// The rule that is spoilt, if any.
  public var brokenRule: BrokenRule?
  /// The number of threads, at least 1.
  public var threads = 2

  /// Every case, with two threads and no rule spoilt.
  public init() {}

  /// Goes through a format's space.
  ///
  /// - Parameter format: which space.
  /// - Returns: the number of cases and the first disagreement, the same whatever the threads.
  public func run(_ format: VerificationFormat) -> Report {
    let clock = ContinuousClock()
    let start = clock.now
    var cases: UInt64 = 0
    var disagreement: Disagreement?
    for space in spaces(of: format) where disagreement == nil {
      let result = run(space)
      cases += result.cases
      disagreement = result.disagreement
    }
    let elapsed = clock.now - start
    let seconds =
      Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    return Report(format: format, cases: cases, seconds: seconds, disagreement: disagreement)
  }

  /// What the workers of one sweep share.
  private final class Shared: Sendable {
    let nextUnit = Atomic<UInt64>(0)
    let cases = Atomic<UInt64>(0)
    /// The lowest unit with a disagreement: later ones need not be looked at.
    let lowestBad = Atomic<UInt64>(.max)
    let found = Mutex<Disagreement?>(nil)

    /// Keeps a disagreement, unless one of an earlier setting is there.
    func keep(_ disagreement: Disagreement) {
      found.withLock { kept in
        if let kept, kept.place.setting < disagreement.place.setting { return }
        kept = disagreement
        lowestBad.store(disagreement.place.setting, ordering: .relaxed)
      }
    }
  }

  /// A part of a format's space: so many settings, and under each of them so many cases.
  private struct Space {
    var settings: UInt64
    var cases: UInt64
    /// Goes through the cases of one setting, every so many from a phase on; the number of cases
    /// compared.
    var judge:
      @Sendable (
        _ setting: UInt64, _ phase: UInt64, _ step: UInt64, _ arena: borrowing VerificationArena,
        _ shared: Shared
      ) -> UInt64
  }

  private func spaces(of format: VerificationFormat) -> [Space] {
    if format == .subpages {
      return SubpageSweep.all.map { sweep in
        Space(settings: sweep.settings, cases: sweep.cases) {
          judge(sweep, setting: $0, phase: $1, every: $2, $3, $4)
        }
      }
    }
    return VerificationSweep.all(of: format).map { sweep in
      Space(settings: sweep.settings, cases: sweep.cases) {
        judge(sweep, setting: $0, phase: $1, every: $2, $3, $4)
      }
    }
  }

  /// Goes through one part of a space.
  ///
  /// A unit is one setting, taken by the workers in ascending order, so that the first disagreement
  /// is the first whatever the number of workers.
  private func run(_ space: Space) -> (cases: UInt64, disagreement: Disagreement?) {
    let shared = Shared()
    let stride = strides(space)
    let units = (space.settings + stride.settings - 1) / stride.settings
    DispatchQueue.concurrentPerform(iterations: max(1, threads)) { _ in
      let arena = VerificationArena()
      while true {
        let unit = shared.nextUnit.add(1, ordering: .relaxed).oldValue
        guard unit < units, unit * stride.settings < shared.lowestBad.load(ordering: .relaxed)
        else { return }
        let cases = space.judge(unit * stride.settings, unit, stride.cases, arena, shared)
        shared.cases.add(cases, ordering: .relaxed)
      }
    }
    return (shared.cases.load(ordering: .relaxed), shared.found.withLock { $0 })
  }

  /// Every how many settings and cases are looked at; odd, so that all digits take all values.
  private func strides(_ sweep: Space) -> (settings: UInt64, cases: UInt64) {
    guard case .about(let wanted) = extent else { return (1, 1) }
    let total = sweep.settings * sweep.cases
    guard total > wanted else { return (1, 1) }
    if sweep.cases < 64 { return ((total / wanted) | 1, 1) }
    let settings = sweep.settings > 64 ? (sweep.settings / 64) | 1 : 1
    return (settings, (total / settings / wanted) | 1)
  }

  /// Goes through the cases of one setting; the number of cases compared.
  private func judge(
    _ sweep: VerificationSweep, setting number: UInt64, phase: UInt64, every step: UInt64,
    _ arena: borrowing VerificationArena, _ shared: Shared
  ) -> UInt64 {
    let setting = sweep.setting(number)
    var judge = VerificationJudge(setting, breaking: brokenRule, in: arena)
    return firstCases(of: sweep.cases, from: phase, every: step) { index in
      guard let one = sweep.instance(setting, index) else { return .none }
      if judge.agrees(on: one) { return .agreement }
      let answers = judge.answers(to: one)
      shared.keep(
        Disagreement(
          sweep, setting, one, place: (number, index), mmu: answers.mmu, hardware: answers.hardware)
      )
      return .disagreement
    }
  }

  private func judge(
    _ sweep: SubpageSweep, setting number: UInt64, phase: UInt64, every step: UInt64,
    _ arena: borrowing VerificationArena, _ shared: Shared
  ) -> UInt64 {
    let setting = sweep.setting(number)
    var judge = SubpageJudge(setting, breaking: brokenRule, in: arena)
    return firstCases(of: sweep.cases, from: phase, every: step) { index in
      guard let one = sweep.instance(setting, index) else { return .none }
      let answers = judge.answers(to: one)
      if answers.rules == answers.hardware { return .agreement }
      let rule = judge.rule(one, answers.rules, answers.hardware)
      shared.keep(
        Disagreement(
          sweep, setting, one, rule, place: (number, index), answers.rules, answers.hardware))
      return .disagreement
    }
  }

  /// What came of a number of a sweep.
  private enum Comparison { case none, agreement, disagreement }

  /// Compares every case of a setting, or one in so many, as far as the first disagreement; how
  /// many there were.
  @inline(__always) private func firstCases(
    of count: UInt64, from phase: UInt64, every step: UInt64, _ compare: (UInt64) -> Comparison
  ) -> UInt64 {
    var compared: UInt64 = 0
    var index = step == 1 ? 0 : phase % step
    while index < count {
      let comparison = compare(index)
      if comparison != .none { compared += 1 }
      if comparison == .disagreement { break }
      index += step
    }
    return compared
  }
}
