import MachineSimulation
import Testing

@Suite("Playing scenarios")
struct PlayerTests {
  private func play(_ steps: String) throws -> ScenarioPlayer.StepReport? {
    let text = """
      name: n
      steps:
        - memslot: {id: 0, gpa: 0, size: 1MiB}
        - write: {gpa: 0x1000, u64: [0x2007]}
        - write: {gpa: 0x2000, u64: [0x3007]}
        - write: {gpa: 0x3000, u64: [0x4007]}
        - write: {gpa: 0x4000, u64: [0x5007]}
        - registers: {cr0: 0x80010033, cr3: 0x1000, cr4: 0x20, efer: 0xd00}
      \(steps)

      """
    return try ScenarioPlayer().play(ScenarioReader.read(text, file: "f"))
  }

  @Test(
    "a wrong expectation fails at its step, with both values",
    arguments: [
      ("access: {gva: 0x8}", "{gpa: 0x6008}", "gpa: 0x6008", "gpa: 0x5008"),
      ("access: {gva: 0x8}", "{page-size: 2MiB}", "page-size: 0x200000", "page-size: 0x1000"),
      ("access: {gva: 0x8}", "{page-fault: {error-code: 4}}", "error-code: 4", "gpa: 0x5008"),
      ("access: {gva: 0x1008}", "ok", "ok", "page-fault"),
      ("access: {gva: 0x1008}", "{page-fault: {error-code: 4}}", "error-code: 4", "error-code: 0"),
      ("access: {gva: 0x8}", "{exit: mmio}", "exit: mmio", "gpa: 0x5008"),
      ("access: {gva: 0x8}", "{exception: gp}", "exception: gp", "gpa: 0x5008"),
      (
        "guest-physical-access: {gpa: 0x200000}", "{gpa: 0x200000}", "gpa: 0x200000",
        "exit: mmio, gpa: 0x200000"
      ),
      ("read: {gpa: 0x4000}", "{u64: 0x5008}", "u64: 0x5008", "u64: 0x5007"),
      ("read: {gpa: 0x4000}", "{bytes: \"0751\"}", "bytes: [7, 0x51]", "bytes: [7, 0x50]"),
      ("memslot: {id: 1, gpa: 0, size: 4KiB}", "ok", "ok", "EEXIST"),
      ("memslot: {id: 1, gpa: 0, size: 4KiB}", "{error: EINVAL}", "EINVAL", "EEXIST"),
      ("registers: {cr4: 0x1020}", "ok", "ok", "exception: gp"),
      ("counters: {}", "{exits: \">0\"}", "\">0\"", "exits: 0"),
      ("counters: {}", "{pages_4k: 7}", "pages_4k: 7", "pages_4k: 0"),
      ("host: {test-age: {gpa: 0}}", "{young: true}", "young: true", "young: false"),
      ("table-entry: {gpa: 0}", "{present: true}", "present: true", "ENOENT"),
      ("processor-tlb: {gva: 0x8}", "{present: true}", "present: true", "present: false"),
      ("tracepoints:", "[kvm_exit]", "kvm_exit", "no more tracepoints"),
    ])
  func wrong(_ step: String, _ expect: String, _ expected: String, _ came: String) throws {
    let failure = try #require(try play("  - \(step)\n    expect: \(expect)"))
    let mismatch = try #require(failure.mismatch)
    #expect(failure.number == 7)
    #expect(failure.line == 9)
    #expect(mismatch.expected.contains(expected), "\(mismatch)")
    #expect(mismatch.found.contains(came), "\(mismatch)")
  }

  @Test("a failed access is explained stop by stop")
  func explanation() throws {
    let failure = try #require(
      try play("  - access: {gva: 0x8, cpl: 3}\n    expect: {gpa: 0}"))
    let trip = failure.explanation
    for part in [
      "user read of 0x8, 4-level paging", "guest level 4 at 0x1000 reads",
      "guest level 1 at 0x4000",
      "guest-physical 0x5008", "memslot 0: frames 0x0 to 0xff", "host page: host-physical",
      "EPT level 1", "TLB of processor 0",
    ] {
      #expect(trip.contains { $0.contains(part) }, "\(part) in \(trip)")
    }
  }

  @Test("under shadow paging the trip tells the tables that the processor goes by")
  func shadowExplanation() throws {
    let text = """
      name: n
      vm: {mmu: shadow}
      steps:
        - memslot: {id: 0, gpa: 0, size: 1MiB}
        - write: {gpa: 0x1000, u32: [0x4007]}
        - write: {gpa: 0x4000, u32: [0, 0x8067]}
        - registers: {cr0: 0x80010033, cr3: 0x1000, cr4: 0x10, efer: 0}
        - access: {kind: write, gva: 0x1000}
          expect: {gpa: 0}
      """
    let failure = try ScenarioPlayer().play(ScenarioReader.read(text, file: "f"))
    let trip = try #require(failure).explanation
    for part in [
      "guest level 1 at 0x4004 reads", "shadow level 3 reads", "shadow level 2 reads",
      "shadow level 1 reads", "TLB of processor 0: 0x1000 to",
    ] {
      #expect(trip.contains { $0.hasPrefix(part) }, "\(part) in \(trip)")
    }
    #expect(!trip.contains { $0.hasPrefix("EPT") })
  }

  @Test("an interleaved step that comes otherwise than expected fails with its own line")
  func interleaved() throws {
    let failure = try #require(
      try play(
        """
          - interleave:
              seed: 1
              together:
                - - access: {gva: 0x8}
                    expect: {gpa: 0x6008}
                - - zap-all
        """))
    #expect(failure.number == 7)
    #expect(failure.line == 12)
    #expect(failure.mismatch?.expected == "gpa: 0x6008")
  }

  @Test("tracepoints are expected in their order, from the last such step on")
  func tracepoints() throws {
    let access = "  - access: {gva: 0x8}\n"
    #expect(try play(access + "  - tracepoints:\n    expect: [kvm_exit, kvm_mmu_set_spte]") == nil)
    #expect(
      try play(
        access + "  - tracepoints\n  - tracepoints:\n    expect: [kvm_exit]") != nil)
    #expect(
      try play(
        access + "  - tracepoints:\n    expect: [\"set_spte: gfn 5 \", \"set_spte: gfn 1 \"]")
        != nil)
  }

  @Test("the same scenario gives the same results twice, interleaved steps included")
  func repeatable() throws {
    let text = """
      name: n
      vm: {vcpus: 2}
      steps:
        - memslot: {id: 0, gpa: 0, size: 1MiB}
        - interleave:
            seed: 77
            together:
              - - guest-physical-access: {kind: write, gpa: 0x1000, value: 1}
                - guest-physical-access: {kind: write, gpa: 0x2000, value: 1}
              - - host: {do: unmap, gpa: 0x1000}
                - guest-physical-access: {vcpu: 1, kind: write, gpa: 0x1000, value: 1}
              - - zap-all

      """
    let scenario = try ScenarioReader.read(text, file: "f")
    var results: [[StepResult]] = []
    for _ in 0..<2 {
      let stage = try Stage(scenario.machine)
      results.append(scenario.steps.map { stage.perform($0.operation) })
      #expect(stage.inspect() == nil)
    }
    #expect(results[0] == results[1])
    guard case .interleaved(let interleaved) = results[0][1] else {
      Issue.record("\(results[0][1])")
      return
    }
    #expect(interleaved.history.count > 10)
  }
}
