import HostMemory
import MachineChecks
import MachineSimulation
import PageTables
import PagingUnits
import Testing
import VirtualMachine

@Suite("The invariant of encrypted memory")
struct EncryptionInvariantTests {
  private static let bit: UInt64 = 1 << 47

  /// A machine whose processor has read a page; the guest's tables have two levels, or four.
  private func stage(_ mmu: String, long: Bool) throws -> Stage {
    let word = long ? "u64" : "u32"
    var text = """
      name: n
      machine: {vendor: amd, phys-bits: 43, encryption-bit: 47, host-memory: 64MiB}
      vm: {mmu: \(mmu)}
      steps:
        - memslot: {id: 0, gpa: 0, size: 16MiB}
        - write: {gpa: 0x3000, \(word): [0x4007]}
        - write: {gpa: 0x4000, \(word): [0x8067]}

      """
    if long { text += "  - write: {gpa: 0x1000, u64: [0x2007]}\n" }
    if long { text += "  - write: {gpa: 0x2000, u64: [0x3007]}\n" }
    let (cr3, cr4, efer) = long ? (0x1000, 0x20, 0xD00) : (0x3000, 0x10, 0)
    text += "  - registers: {cr0: 0x80010033, cr3: \(cr3), cr4: \(cr4), efer: \(efer)}\n"
    text += "  - access: {kind: read, gva: 0x0, cpl: 3}\n    expect: {gpa: 0x8000}\n"
    text += "  - check: {}\n"
    let scenario = try ScenarioReader.read(text, file: "f.yaml")
    let stage = try Stage(scenario.machine)
    let failed = ScenarioPlayer().play(scenario, on: stage)
    #expect(failed == nil)
    return stage
  }

  /// The root's frame, and the frames of the tables below it on the way of address 0.
  private func frames(_ stage: Stage) throws -> [HostFrame] {
    let encoding = stage.machine.tables.encoding
    let root = stage.settings.mmu == .shadow ? stage.machine.shadowRoot(of: 0)?.frame : nil
    let frame = root ?? stage.machine.rootFrame(of: 0)
    var frames = [try #require(frame)]
    while true {
      // The direct tables' ways to the guest's page 8 go by entry 8 of the lowest.
      let entry = SPTE(
        raw: stage.machine.tables.memory.entry(at: frames[frames.count - 1].address))
      let next = encoding.frame(of: entry)
      guard entry.raw & 1 == 1, stage.machine.process.host.records.kind(of: next) == .table else {
        return frames
      }
      frames.append(next)
    }
  }

  private func isBroken(_ stage: Stage) -> Bool {
    EncryptedMemory.violation(in: stage.machine)?.rule == EncryptedMemory.rule
      && stage.inspect() != nil
  }

  @Test(
    "sees the bit missing in any entry on the way", arguments: ["shadow", "direct"], [false, true])
  func missing(mmu: String, long: Bool) throws {
    let stage = try stage(mmu, long: long)
    #expect(EncryptedMemory.violation(in: stage.machine) == nil)
    let memory = stage.machine.tables.memory
    for frame in try frames(stage) {
      let index = try #require(
        (0..<512 as Range<UInt64>).first {
          memory.entry(at: frame.address + $0 * 8) & Self.bit != 0
        })
      let place = frame.address + index * 8
      let sound = memory.entry(at: place)
      memory.setEntry(sound & ~Self.bit, at: place)
      #expect(isBroken(stage))
      memory.setEntry(sound, at: place)
    }
    #expect(stage.inspect() == nil)
  }

  @Test("sees a table in the clear to which 64 bits point", arguments: ["shadow", "direct"])
  func clear(mmu: String) throws {
    for index in 0..<4 {
      let stage = try stage(mmu, long: true)
      let frame = try frames(stage)[index]
      let memory = stage.machine.tables.memory
      let words = (0..<512 as Range<UInt64>).map { memory.entry(at: frame.address + $0 * 8) }
      stage.machine.process.host.decrypt(frame)
      for (index, word) in words.enumerated() {
        memory.setEntry(word, at: frame.address + UInt64(index) * 8)
      }
      #expect(isBroken(stage))
      stage.machine.process.host.encrypt(frame)
      for (index, word) in words.enumerated() {
        memory.setEntry(word, at: frame.address + UInt64(index) * 8)
      }
      #expect(stage.inspect() == nil)
    }
  }

  @Test("sees a root of PAE paging that is encrypted")
  func encryptedRoot() throws {
    let stage = try stage("shadow", long: false)
    let frame = try frames(stage)[0]
    let memory = stage.machine.tables.memory
    let pointers = (0..<4 as Range<UInt64>).map { memory.entry(at: frame.address + $0 * 8) }
    for isEncrypted in [true, false] {
      if isEncrypted {
        stage.machine.process.host.encrypt(frame)
      } else {
        stage.machine.process.host.decrypt(frame)
      }
      memory.fillFrame(frame, with: 0)
      for (index, pointer) in pointers.enumerated() {
        memory.setEntry(pointer, at: frame.address + UInt64(index) * 8)
      }
      #expect(isEncrypted ? isBroken(stage) : stage.inspect() == nil)
    }
  }

  @Test("sees a table that was given back in the clear", arguments: ["shadow", "direct"])
  func givenBack(mmu: String) throws {
    let stage = try stage(mmu, long: true)
    let host = stage.machine.process.host.share()
    let frame = host.allocateTable(owner: 0)
    let table = try #require(frame)
    host.decrypt(table)
    host.freeTable(table)
    #expect(isBroken(stage))
  }
}
