import Glibc
import MachineSimulation
import Synchronization

/// A fuzzing session as the command runs it: with limits, a corpus on disk and progress.
struct FuzzSession {
  /// How far a session goes.
  struct Limits {
    /// The most runs.
    var runs: UInt64
    /// After how many seconds no further run begins.
    var seconds: Int?
  }

  private var configuration: FuzzConfiguration
  private let limits: Limits

  /// A session that has not begun.
  init(_ configuration: FuzzConfiguration, limits: Limits) {
    self.configuration = configuration
    self.limits = limits
  }

  /// Runs until something is found or a limit is reached.
  mutating func run(_ folder: CorpusFolder?) throws -> FuzzReport {
    let scenarios = try folder?.read()
    var fuzzer = Fuzzer(configuration, corpus: scenarios.map { FuzzCorpus($0) })
    let begin = Self.now()
    var line = FuzzLine()
    TrapNotice.install()
    do {
      try fuzzer.playCorpus()
      while fuzzer.report.failure == nil && fuzzer.report.runs < limits.runs {
        let elapsed = Self.now() - begin
        if let seconds = limits.seconds, elapsed >= Double(seconds) { break }
        line.show(fuzzer.report, elapsed)
        let seed = fuzzer.nextSeed
        TrapNotice.seed.store(seed, ordering: .relaxed)
        let gain = try fuzzer.run { TrapNotice.step.store($0, ordering: .relaxed) }
        if let gain, let folder { try folder.add(gain, seed: seed) }
      }
    } catch let error as StageError {
      throw Failure("seed \(fuzzer.nextSeed): \(error.message)", .limit)
    }
    line.finish(fuzzer.report, Self.now() - begin)
    return fuzzer.report
  }

  /// Seconds since some moment.
  private static func now() -> Double {
    var time = timespec()
    // SAFETY: the structure is the callee's to fill.
    unsafe _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

/// The line on standard error that says how a session gets on, when that is a terminal.
private struct FuzzLine {
  private let isShown = isatty(2) == 1
  private var next = 1.0

  mutating func show(_ report: FuzzReport, _ elapsed: Double) {
    guard isShown, elapsed >= next else { return }
    next = elapsed + 1
    put("\r\(Self.words(report, elapsed))\u{1B}[K")
  }

  /// Ends with the speed, which has no place in an output that must be the same twice.
  func finish(_ report: FuzzReport, _ elapsed: Double) {
    if isShown { put("\r\u{1B}[K") }
    put("penumbra: \(Self.words(report, elapsed))\n")
  }

  private static func words(_ report: FuzzReport, _ elapsed: Double) -> String {
    let tenths = Int(elapsed * 10)
    let speed = elapsed > 0 ? UInt64(Double(report.steps) / elapsed) : 0
    return "\(report.runs) runs, \(report.steps) steps in \(tenths / 10).\(tenths % 10) s, "
      + "\(speed) steps/s"
  }

  private func put(_ text: String) {
    var line = text
    line.withUTF8 { bytes in
      // SAFETY: the bytes live as long as the call.
      unsafe _ = write(2, bytes.baseAddress, bytes.count)
    }
  }
}
