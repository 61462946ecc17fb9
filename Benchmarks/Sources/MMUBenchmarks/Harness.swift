import CBaselines
import Glibc

/// One thing to measure, in ours and in plain C.
struct Case {
  /// What the table prints.
  let name: String
  /// What an operation is.
  let unit: String
  /// How many times the baseline our figure may be; 0 for no bound.
  let bound: Double
  /// Runs `count` operations of ours; a checksum.
  let ours: (Int) -> UInt64
  /// Runs `count` of the baseline's; a checksum.
  let baseline: (Int) -> UInt64
  /// How many operations one timed round has.
  let round: Int
}

/// Which side of a case is run alone, for instruction counts.
enum Side: String { case ours, baseline, both }

/// Nanoseconds since some moment.
func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// A checksum that the optimizer cannot do without.
nonisolated(unsafe) var sink: UInt64 = 0

/// What a case timed, without its preparations.
nonisolated(unsafe) var elapsed: UInt64 = 0

/// Whether only instructions are counted, and no clock is read.
nonisolated(unsafe) var isCounting = false

/// Where the clock runs, or callgrind counts: everything outside is preparation.
@discardableResult func counted(_ body: () -> UInt64) -> UInt64 {
  if isCounting {
    baseline_toggle_counting()
    let result = body()
    baseline_toggle_counting()
    return result
  }
  let start = now()
  let result = body()
  elapsed += now() - start
  return result
}

extension Case {
  /// The median of the rounds, in nanoseconds an operation, and of the ratio pair by pair.
  func measure(rounds: Int) -> (ours: Double, baseline: Double, ratio: Double) {
    var mine: [Double] = []
    var theirs: [Double] = []
    sink &+= ours(round) &+ baseline(round)
    func time(_ body: (Int) -> UInt64) -> Double {
      elapsed = 0
      sink &+= body(round)
      return Double(elapsed) / Double(round)
    }
    for _ in 0..<rounds {
      mine.append(time(ours))
      theirs.append(time(baseline))
    }
    let ratios = zip(mine, theirs).map { $0 / $1 }
    func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
    return (median(mine), median(theirs), median(ratios))
  }
}

/// A sequence of addresses that looks random and is the same on both sides.
///
/// Each address depends on the last answer (whose low bits are 0, which no compiler and no
/// processor knows): what is timed is one walk after another, as a program that misses waits for
/// them.
struct Addresses {
  private var state: UInt64 = 0x9E37_79B9_7F4A_7C15
  private let mask: UInt64

  init(span: UInt64) { mask = span - 1 }

  mutating func next(after answer: UInt64) -> UInt64 {
    state ^= answer & 7
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state & mask & ~7
  }
}
