import Testing

@testable import MachineSimulation

@Suite("The fuzzer's corpus")
struct FuzzCorpusTests {
  private static func fuzzer(seed: UInt64, _ corpus: FuzzCorpus) -> Fuzzer {
    var configuration = FuzzConfiguration(seed: seed)
    configuration.stepsPerRun = 120
    return Fuzzer(configuration, corpus: corpus)
  }

  @Test("grows by what reaches new pairs of tracepoints, and is read back")
  func grows() throws {
    var fuzzer = Self.fuzzer(seed: 1, FuzzCorpus())
    var gains: [Scenario] = []
    for _ in 0..<30 {
      if let gain = try fuzzer.run() { gains.append(gain) }
    }
    #expect(gains.count > 5)
    #expect(gains.count < 30)
    #expect(fuzzer.corpus?.scenarios == gains)
    let read = try gains.map {
      try ScenarioReader.read(ScenarioWriter.text(of: $0), file: "gain")
    }
    // What was reached before is nothing new any more.
    var second = Self.fuzzer(seed: 1, FuzzCorpus(read))
    try second.playCorpus()
    #expect(second.report.failure == nil)
    #expect(second.report.coverage == fuzzer.report.coverage)
    #expect(second.report.runs == 0)
  }

  @Test("is where half of the runs start, changed a little")
  func starts() {
    var configuration = FuzzConfiguration(seed: 9)
    configuration.stepsPerRun = 50
    let scenarios = (0..<4).map { Fuzzer.scenario(seed: $0, configuration) }
    let corpus = FuzzCorpus(scenarios)
    var (started, changed) = (0, 0)
    for seed: UInt64 in 0..<200 {
      guard let start = corpus.start(seed: seed) else { continue }
      started += 1
      #expect(start == corpus.start(seed: seed))
      #expect(scenarios.map(\.machine).contains(start.machine))
      if !scenarios.contains(start) { changed += 1 }
    }
    #expect(60...140 ~= started)
    #expect(changed > started / 3)
    #expect(FuzzCorpus().start(seed: 1) == nil)
  }

  @Test("makes the same runs from the same scenarios")
  func repeats() throws {
    var configuration = FuzzConfiguration(seed: 9)
    configuration.stepsPerRun = 50
    let corpus = FuzzCorpus((0..<4).map { Fuzzer.scenario(seed: $0, configuration) })
    var digests: Set<FuzzDigest> = []
    for _ in 0..<2 {
      var fuzzer = Self.fuzzer(seed: 3, corpus)
      for _ in 0..<10 { try fuzzer.run() }
      digests.insert(fuzzer.report.digest)
    }
    #expect(digests.count == 1)
  }
}
