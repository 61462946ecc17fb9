import MachineSimulation
import PagingUnits
import SubpageProtection
import Testing
import VirtualMachine

@Suite("Scenario files")
struct ReaderTests {
  private func reason(_ text: String) -> ScenarioError? {
    do throws(ScenarioError) {
      _ = try ScenarioReader.read(text, file: "f.yaml")
      return nil
    } catch {
      return error
    }
  }

  private func steps(_ lines: String) -> String { "name: n\nsteps:\n\(lines)\n" }

  @Test(
    "a mistake names its line and what was expected",
    arguments: [
      ("name: n\nsteps:\n  - memslot: {id: 0, gpa: 0, sise: 1}\n", 3, "unknown key \"sise\""),
      ("name: n\nsteps:\n  - memslot: {id: 0}\n", 3, "size is missing"),
      ("name: n\nsteps:\n  - memslot: {id: 70000, size: 1}\n", 3, "from 0 to 65535"),
      ("name: n\nsteps:\n  - memslot: {id: 0, size: [1]}\n", 3, "a list"),
      ("name: n\nsteps:\n  - memslot: {id: 0, size: \"4096\"}\n", 3, "a number"),
      ("name: n\nsteps:\n  - memslot: {id: 0, size: 1, flags: [fast]}\n", 3, "read-only"),
      ("name: n\nsteps:\n  - memslot: 3\n", 3, "where id, gpa"),
      ("name: n\nsteps:\n  - jump: {}\n", 3, "unknown step \"jump\""),
      ("name: n\nsteps:\n  - {check: {}, zap-all: {}}\n", 3, "second step"),
      ("name: n\nsteps:\n  - 7\n", 3, "where a step was expected"),
      ("name: n\nsteps: 7\n", 2, "a list of steps"),
      ("name: n\n", 1, "steps is missing"),
      ("steps: []\n", 1, "name is missing"),
      ("name: n\nstep: []\n", 2, "unknown key \"step\""),
      ("name: n\nmachine: {vendor: via}\nsteps: []\n", 2, "intel, amd"),
      ("name: n\nmachine:\n  levels: 3\nsteps: []\n", 3, "from 4 to 5"),
      ("name: n\nmachine: {phys-bits: 53}\nsteps: []\n", 2, "from 32 to 52"),
      ("name: n\nmachine: {tlb-sets: 3}\nsteps: []\n", 2, "power of two"),
      ("name: n\nvm: {vcpus: 0}\nsteps: []\n", 2, "from 1 to 64"),
      ("name: n\nsteps:\n  - access: {gva: 0, vcpu: 1}\n", 3, "from 0 to 0"),
      ("name: n\nsteps:\n  - access: {gpa: 0}\n", 3, "unknown key \"gpa\""),
      ("name: n\nsteps:\n  - access: {gva: 0, kind: jump}\n", 3, "read, write, fetch"),
      ("name: n\nsteps:\n  - access: {gva: 0, size: 0}\n", 3, "from 1 to 4096"),
      ("name: n\nsteps:\n  - access: {gva: 0, implicit: maybe}\n", 3, "true or false"),
      ("name: n\nsteps:\n  - access: {gva: 0}\n    expect: {gpq: 1}\n", 4, "unknown key \"gpq\""),
      ("name: n\nsteps:\n  - access: {gva: 0}\n    expect: fine\n", 4, "ok or any of"),
      ("name: n\nsteps:\n  - access: {gva: 0}\n    expect: {}\n", 4, "something was expected"),
      (
        "name: n\nsteps:\n  - access: {gva: 0}\n    expect: {page-fault: {code: 1}}\n", 4,
        "error-code, address"
      ),
      ("name: n\nsteps:\n  - counters\n  - counters: {}\n    expect: {pf: 1}\n", 5, "pf_taken"),
      (
        "name: n\nsteps:\n  - counters: {}\n    expect: {pf_taken: \"=1\"}\n", 4, "such as"
      ),
      ("name: n\nsteps:\n  - tracepoints:\n    expect: kvm_exit\n", 4, "a list of parts of lines"),
      ("name: n\nsteps:\n  - host: {gpa: 0}\n", 3, "exactly one of"),
      ("name: n\nsteps:\n  - host: {do: migrate, split: {gpa: 0}}\n", 3, "exactly one of"),
      ("name: n\nsteps:\n  - refuse: {every: 0}\n", 3, "from 1"),
      ("name: n\nsteps:\n  - write: {gpa: 0, bytes: \"abc\"}\n", 3, "hexadecimal digits"),
      ("name: n\nsteps:\n  - write: {gpa: 0, u32: [0x100000000]}\n", 3, "below 2^32"),
      ("name: n\nsteps:\n  - interleave: {together: [[]]}\n", 3, "2 to 16"),
      (
        "name: n\nsteps:\n  - interleave:\n      together:\n        - - interleave: {}\n"
          + "        - []\n", 5, "was not expected"
      ),
      ("name: n\nname: m\nsteps: []\n", 1, "stands twice"),
      ("name: n\nsteps: [{check: \n", 3, "YAML was expected"),
      ("name: n\nsteps:\n  - &a check\n", 3, "no anchors"),
      ("name: n\nsteps:\n  - *a\n", 3, "no anchors"),
      ("", 1, "a mapping with name and steps"),
      ("7", 1, "where name, machine"),
    ])
  func mistakes(_ text: String, _ line: Int, _ part: String) throws {
    let problem = try #require(reason(text), "\(text) was accepted")
    #expect(problem.line == line, "\(problem)")
    #expect(problem.message.contains(part), "\(problem)")
    #expect(!problem.description.contains("\n"))
    #expect(problem.description.hasPrefix("f.yaml:\(line): "))
  }

  @Test(
    "what the language has and the machine has not yet says so at its line",
    arguments: [
      "dirty-log", "attributes", "seamcall", "tdcall", "nested", "invept", "invvpid",
      "invlpga", "recover-huge-pages",
    ])
  func laterSteps(_ step: String) throws {
    let problem = try #require(reason(steps("  - check\n  - \(step): {}")))
    #expect(problem.line == 4)
    #expect(problem.message == "step \(step) is not built yet")
  }

  @Test("a machine with shadow paging is written as it was read")
  func shadowMachines() throws {
    let text = """
      name: n
      vm: {mmu: shadow, special-roots: local-pages, shadow-pages: 100, vcpus: 2}
      steps:
        - trim: 5
        - table-entry: {vcpu: 1, gva: 0x7000, level: 2}
          expect: {error: ENOENT}
      """
    let scenario = try ScenarioReader.read(text, file: "f.yaml")
    #expect(scenario.machine.mmu == .shadow)
    #expect(scenario.machine.specialRoots == .localPages)
    #expect(scenario.machine.shadowPageLimit == 100)
    #expect(
      scenario.steps.map(\.operation) == [
        .trim(5), .shadowEntry(processor: 1, GuestVirtual(0x7000), .page2M),
      ])
    let written = try ScenarioReader.read(ScenarioWriter.text(of: scenario), file: "f.yaml")
    #expect(written.machine == scenario.machine)
    #expect(written.steps.map(\.operation) == scenario.steps.map(\.operation))
  }

  @Test("a machine with an encryption bit is written as it was read")
  func encryptedMachines() throws {
    let text = """
      name: n
      machine: {vendor: amd, phys-bits: 43, encryption-bit: 47}
      steps: []
      """
    let scenario = try ScenarioReader.read(text, file: "f.yaml")
    #expect(scenario.machine.encryptionBit == 47)
    let written = try ScenarioReader.read(ScenarioWriter.text(of: scenario), file: "f.yaml")
    #expect(written.machine == scenario.machine)
  }

  @Test(
    "an encryption bit that the host cannot have is a mistake at its line",
    arguments: [
      ("encryption-bit: 47", "a host of AMD's"),
      ("vendor: amd\n  phys-bits: 48\n  encryption-bit: 47", "a bit from MAXPHYADDR (48) on"),
      ("vendor: amd\n  encryption-bit: 52", "a number from 32 to 51"),
      ("vendor: amd\n  encryption-bit: 31", "a number from 32 to 51"),
      (
        "vendor: amd\n  phys-bits: 32\n  host-memory: 8GiB\n  encryption-bit: 32",
        "a bit above the host's 8589934592 bytes"
      ),
    ])
  func impossibleEncryption(lines: String, expected: String) {
    let problem = reason("name: n\nmachine:\n  \(lines)\nsteps: []\n")
    #expect(problem?.line == 2 + lines.split(separator: "\n").count)
    #expect(problem?.message.contains("\(expected) was expected") == true, "\(problem as Any)")
  }

  @Test("a machine with sub-page protection is written as it was read")
  func subpageMachines() throws {
    let text = """
      name: n
      machine: {features: [nx, spp]}
      vm: {quirks: [spp-fills-one-page, spp-refuses-unasked]}
      steps:
        - subpage: {enable: true}
        - subpage: {gpa: 0x5000, access: [0x0, 0xff]}
        - subpage: {gpa: 0x5000, count: 3, access: [0x7], address-space: 1, flags: 1}
        - subpage: {gpa: 0x5000, count: 0, access: []}
        - subpage: {gpa: 0x5000, count: 2, get: true}
          expect: {access: [0, 0xff]}
        - table-entry: {root: spp, gpa: 0x5000, level: 1}
          expect: {access: [0]}
      """
    let scenario = try ScenarioReader.read(text, file: "f.yaml")
    #expect(scenario.machine.features == [.noExecute, .subpages])
    #expect(scenario.machine.subpageQuirks == [.fillsOnePage, .refusesUnasked])
    var third = SubpageStep(.set([7, 7, 7]), at: GuestPhysical(0x5000))
    third.space = .systemManagement
    third.flags = 1
    let place = GuestPhysical(0x5000)
    #expect(
      scenario.steps.map(\.operation) == [
        .subpage(SubpageStep(.enable)), .subpage(SubpageStep(.set([0, 0xFF]), at: place)),
        .subpage(third), .subpage(SubpageStep(.set([]), at: place)),
        .subpage(SubpageStep(.get(count: 2), at: place)),
        .subpageEntry(place, .page4K, .normal),
      ])
    let written = try ScenarioReader.read(ScenarioWriter.text(of: scenario), file: "f.yaml")
    #expect(written.machine == scenario.machine)
    #expect(written.steps.map(\.operation) == scenario.steps.map(\.operation))
  }

  @Test("an entry is asked for by the address that its root translates")
  func entryAddresses() {
    for (machine, entry) in [
      ("direct", "{gva: 0}"), ("shadow", "{gpa: 0}"), ("direct", "{root: shadow, gpa: 0}"),
    ] {
      let text = "name: n\nvm: {mmu: \(machine)}\nsteps:\n  - table-entry: \(entry)\n"
      #expect(reason(text)?.line == 4)
    }
    #expect(reason("name: n\nsteps:\n  - trim: many\n")?.line == 3)
  }

  @Test("machines that are not built yet say so at their line")
  func laterMachines() {
    for (lines, line) in [
      ("vm: {kind: trust-domain}", 2),
      ("machine:\n  features: [tdx]", 3),
    ] {
      let problem = reason("name: n\n\(lines)\nsteps: []\n")
      #expect(problem?.line == line)
      #expect(problem?.message.hasSuffix("is not built yet") == true)
    }
  }

  @Test("nesting, however deep, is a mistake and no crash", arguments: ["[", "{a: ", "- ", "? "])
  func nesting(_ opener: String) {
    let text = "name: n\nsteps: " + String(repeating: opener, count: 100_000)
    #expect(reason(text) != nil)
  }

  @Test("a file of more than 16 MiB is refused")
  func size() {
    let text = "name: n\nsteps: []\n#" + String(repeating: "x", count: ScenarioReader.byteLimit)
    #expect(reason(text)?.message.contains("16 MiB") == true)
  }

  @Test("an apostrophe or a star inside a sentence is no quotation and no alias")
  func sentences() throws {
    let text = "name: the guest's page, x * y & z, isn't  # it's *a comment\nsteps: []\n"
    let scenario = try ScenarioReader.read(text, file: "f")
    #expect(scenario.name == "the guest's page, x * y & z, isn't")
  }

  @Test("numbers may have units, and a step without fields needs no mapping")
  func spellings() throws {
    let text = steps(
      "  - memslot: {id: 0, size: 16MiB}\n  - check\n  - check: {}\n  - check:\n    expect: ok")
    let scenario = try ScenarioReader.read(text, file: "f")
    var slot = MemslotChange(id: 0, at: GuestPhysical(0), byteCount: 16 << 20)
    slot.backing = .anonymous
    #expect(
      scenario.steps.map(\.operation) == [.memslot(slot), .check, .check, .check])
    #expect(scenario.steps.map(\.expectation) == [.anything, .anything, .anything, .ok])
    #expect(scenario.steps.map(\.line) == [3, 4, 5, 6])
  }

  @Test("what the writer writes, the reader reads back to the same values")
  func roundTrip() throws {
    var machine = ScenarioMachine()
    machine.vendor = .amd
    machine.physicalBits = 40
    machine.guestPhysicalBits = 36
    machine.hostBytes = 64 << 20
    machine.rootLevel = .level5
    machine.features = [.noExecute, .gigabytePages]
    machine.processors = 3
    machine.largestPage = .page2M
    machine.prefetch = .present
    machine.translationSets = 0
    var slot = MemslotChange(id: 3, at: GuestPhysical(0x20_0000), byteCount: 0x5000)
    (slot.isReadOnly, slot.logsWrites, slot.space) = (true, true, .systemManagement)
    (slot.backing, slot.sharing, slot.hostOffset) = (.transparent2M, 1, 0x1000)
    var registers = RegisterChange(processor: 2)
    (registers.cr0, registers.cr2, registers.cr3, registers.cr4) = (1, 2, 0x3000, 4)
    (registers.efer, registers.pkru, registers.pat) = (5, 6, 7)
    (registers.privilegeLevel, registers.alignmentCheck) = (3, true)
    registers.space = .systemManagement
    var access = AccessStep(.fetch, at: .virtual(GuestVirtual(.max)))
    (access.processor, access.byteCount, access.privilegeLevel) = (1, 16, 2)
    (access.isImplicit, access.isEmulated, access.value) = (true, true, 99)
    let physical = AccessStep(.write, at: .physical(GuestPhysical(0x1234)))
    let inner = [Step(.zapAll, expect: .ok), Step(.access(access))]
    var steps: [Step] = [
      Step(.memslot(slot), expect: Expectation(fields: [.init("error", .word("EEXIST"))])),
      Step(.write(GuestPhysical(0x10), GuestBytes(words: [1, .max]))),
      Step(.write(GuestPhysical(0x10), GuestBytes([1, 2, 3, 4], .words32(count: 1)))),
      Step(.write(GuestPhysical(0x10), GuestBytes([0xAB, 0xCD], .bytes(count: 2)))),
      Step(
        .read(GuestPhysical(0x10), .words64(count: 2)),
        expect: Expectation(fields: [.init("u64", .numbers([1, 2]))])),
      Step(.read(GuestPhysical(0x10), .bytes(count: 7))),
      Step(.registers(registers)), Step(.access(access)), Step(.access(physical)),
      Step(.loadCR3(processor: 1, value: 0x5000, keepsTranslations: true)),
      Step(.invalidatePage(processor: 1, GuestVirtual(0x7000))),
      Step(.invalidateContext(processor: 0, type: 3, pcid: 77, GuestVirtual(0x7000))),
      Step(.zapAll), Step(.evict(processor: 2)), Step(.refuse(.every(3))), Step(.refuse(.never)),
      Step(.counters(processor: 1)), Step(.tracepoints), Step(.check, expect: .ok),
      Step(.tableEntry(GuestPhysical(0x1000), .page2M, .systemManagement)),
      Step(.processorTLB(processor: 1, GuestVirtual(0x1000))),
      Step(.interleave(Interleaving(.seed(9), together: [inner, [Step(.check)]]))),
      Step(.interleave(Interleaving(.schedule([0, 1]), together: [inner, inner]))),
    ]
    steps += HostAction.allCases.map { Step(.host($0, GuestPhysical(0x1000), byteCount: 8192)) }
    let scenario = Scenario(name: "it \"quotes\" \\ and: {braces}", machine: machine, steps: steps)
    let text = ScenarioWriter.text(of: scenario, comment: ["seed 7"])
    var again = try ScenarioReader.read(text, file: "f")
    for index in again.steps.indices {
      again.steps[index] = withoutLines(again.steps[index])
      #expect(again.steps[index] == steps[index], "step \(index) of\n\(text)")
    }
    #expect(again.name == scenario.name)
    #expect(again.machine == scenario.machine)
  }

  private func withoutLines(_ step: Step) -> Step {
    var step = step
    step.line = 0
    for index in step.expectation.fields.indices { step.expectation.fields[index].line = 0 }
    if case .interleave(var interleaving) = step.operation {
      interleaving.together = interleaving.together.map { $0.map(withoutLines) }
      step.operation = .interleave(interleaving)
    }
    return step
  }
}
