#if MUTATIONS
  import Foundation
  import MachineSimulation
  import Mutations
  import Testing

  @Suite("Known bugs, put back one at a time", .serialized)
  struct CatchingTests {
    @Test(
      "a scenario or the fuzzer catches it within 200,000 steps",
      arguments: Mutation.allCases.filter { $0.exhibit.equivalence == nil })
    func isCaught(mutation: Mutation) async {
      let result = await #expect(
        processExitsWith: .failure, observing: [\.standardOutputContent]
      ) { [number = mutation.rawValue as UInt16] in
        Mutation.active = Mutation(rawValue: number)
        try Catcher.play()
        try Catcher.fuzz()
      }
      let lines = String(decoding: result?.standardOutputContent ?? [], as: UTF8.self)
        .split(separator: "\n")
      // A trap leaves what was being done as the last line.
      print("\(mutation.exhibit.name): \(lines.last ?? "caught before anything was done")")
    }

    @Test("every bug has a name of its own")
    func namesAreUnique() {
      #expect(Set(Exhibit.all.map(\.name)).count == Mutation.allCases.count)
      #expect(Set(Exhibit.all.map(\.mutation)).count == Mutation.allCases.count)
      for exhibit in Exhibit.all { #expect(Mutation.named(exhibit.name) == exhibit.mutation) }
    }
  }

  /// Plays and fuzzes in a process of its own, and ends it when something does not hold.
  private enum Catcher {
    /// Plays every scenario.
    static func play() throws {
      var steps = 0
      for file in Repository.files(below: "Scenarios", ending: ".yaml") {
        say("\(file), a trap after \(steps) steps")
        let scenario = try ScenarioReader.read(Repository.text(of: file), file: file)
        let failure = try ScenarioPlayer().play(scenario) { _ in steps += 1 }
        if failure != nil { caught("\(file), after \(steps) steps") }
      }
    }

    /// Fuzzes 200,000 steps from seed 1.
    static func fuzz() throws {
      var configuration = FuzzConfiguration(seed: 1)
      configuration.stepsPerRun = 1000
      configuration.shrinkingLimit = 0
      var fuzzer = Fuzzer(configuration)
      while fuzzer.report.steps < 200_000 {
        say("the fuzzer, a trap after \(fuzzer.report.steps) steps")
        try fuzzer.run()
        if fuzzer.report.failure != nil { caught("the fuzzer, after \(fuzzer.report.steps) steps") }
      }
      say("nothing")
    }

    private static func say(_ line: String) {
      FileHandle.standardOutput.write(Data("\(line)\n".utf8))
    }

    private static func caught(_ line: String) -> Never {
      say(line)
      exit(EXIT_FAILURE)
    }
  }
#endif
