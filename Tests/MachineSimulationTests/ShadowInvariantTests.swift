import HostMemory
import MachineChecks
import MachineSimulation
import PageTables
import PagingUnits
import ShadowMMU
import Testing
import VirtualMachine

@Suite("The rules of shadow tables")
struct ShadowInvariantTests {
  /// A machine whose guest has read one page through 4-level paging; its page table is in step.
  private func stage() throws -> Stage {
    let text = """
      name: n
      vm: {mmu: shadow}
      steps:
        - memslot: {id: 0, gpa: 0, size: 1MiB}
        - write: {gpa: 0x1000, u64: [0x2007]}
        - write: {gpa: 0x2000, u64: [0x3007]}
        - write: {gpa: 0x3000, u64: [0x4007]}
        - write: {gpa: 0x4000, u64: [0x5003, 0x6007]}
        - registers: {cr0: 0x80010033, cr3: 0x1000, cr4: 0x20, efer: 0xd00}
        - access: {kind: write, gva: 0, cpl: 0, value: 1}
      """
    let scenario = try ScenarioReader.read(text, file: "f.yaml")
    let stage = try Stage(scenario.machine)
    for step in scenario.steps { #expect(stage.perform(step.operation).isSuccess) }
    #expect(stage.inspect() == nil)
    return stage
  }

  /// The host-physical place of the lowest entry for address 0.
  private func leaf(_ stage: Stage) throws -> HostPhysical {
    let root = stage.machine.shadowRoot(of: 0)
    var (frame, level) = try #require(root)
    let memory = stage.machine.tables.memory
    while level > .page4K {
      let entry = SPTE(raw: memory.entry(at: frame.address))
      frame = stage.machine.tables.encoding.frame(of: entry)
      level = try #require(level.below)
    }
    return frame.address
  }

  @Test("a store that nobody told of is found in a table in step")
  func untold() throws {
    let stage = try stage()
    let bytes: [UInt8] = [0x03, 0x70]
    // SAFETY: the array outlives the write.
    let done = unsafe stage.machine.write(bytes.span.bytes, to: GuestPhysical(0x4000))
    #expect(done == 2)
    #expect(stage.inspect()?.rule == ShadowDerivation.rule)
  }

  @Test("a right that the guest did not give is found", arguments: [2, 63])
  func rights(_ bit: UInt64) throws {
    let stage = try stage()
    let (place, memory) = (try leaf(stage), stage.machine.tables.memory)
    let sound = memory.entry(at: place)
    memory.setEntry(sound ^ 1 << bit, at: place)
    #expect(stage.inspect()?.rule == ShadowDerivation.rule)
    memory.setEntry(sound, at: place)
    #expect(stage.inspect() == nil)
  }

  @Test("a translation that outlives its leaf's right to be written is found")
  func outlived() throws {
    let stage = try stage()
    let (place, memory) = (try leaf(stage), stage.machine.tables.memory)
    let sound = memory.entry(at: place)
    memory.setEntry(sound & ~2, at: place)
    #expect(stage.inspect()?.rule == ShadowTranslations.rule)
    memory.setEntry(sound, at: place)
    #expect(stage.inspect() == nil)
  }
}
