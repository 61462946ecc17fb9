import Foundation
import HardwareModel
import HostMemory
import MachineSimulation
import PageTables
import PagingUnits
import Testing
import VirtualMachine

/// What the exported tables say of writes to a stranger: a short Python script that knows only the
/// manual's rules of EPT and of sub-page write permissions.
@Suite("Exported tables with sub-page permissions")
struct SubpageExportTests {
  /// A sequence that looks random and is the same for the same seed.
  private struct Dice: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ state >> 29
    }
  }

  /// A machine with protected pages in blocks of 2 MiB that were missed in, that were not, and that
  /// were set aside; beside them open pages, large ones, read-only ones and none at all.
  private func stage(levels: Int) throws -> Stage {
    var text = """
      name: pages with sub-pages
      machine:
        levels: \(levels)
        features: [nx, ad-bits, 1g-pages, spp]
        host-memory: 1GiB
        phys-bits: \(levels == 5 ? 51 : 46)
      vm: {mmu: direct, vcpus: 2}
      steps:
        - memslot: {id: 0, gpa: 0, size: 16MiB}
        - memslot: {id: 1, gpa: 0x40000000, size: 16MiB, backing: huge-2m}
        - memslot: {id: 2, gpa: 0x80000000, size: 1MiB, flags: [read-only]}

      """
    let touched = (0..<4096 as Range<UInt64>).filter { $0 < 1024 || $0 > 3072 }
    // Writes first, so that the host's pages may be written.
    for page in touched + [0x40005, 0x40FFF] {
      text += "  - guest-physical-access: {kind: write, gpa: \(page << 12)}\n"
    }
    text += "  - subpage: {enable: true}\n"
    var dice = Dice(state: 7)
    let words: [UInt32] = [0, 1, 0x8000_0000, 0x7FFF_FFFF, 0xFFFF_FFFE, 0x0F0F_0F0F]
    let pages: [UInt64] = (0..<2048).filter { _ in dice.next() % 5 == 0 } + [0x40005, 0x40FFF]
    for page in pages {
      let random = UInt32(truncatingIfNeeded: dice.next())
      let word = dice.next() % 2 == 0 ? random : words[Int(dice.next() % 6)]
      text += "  - subpage: {gpa: \(page << 12), access: [\(word)]}\n"
    }
    for page in touched {
      text += "  - guest-physical-access: {kind: read, gpa: \(page << 12)}\n"
    }
    text += "  - guest-physical-access: {kind: write, gpa: 0x40200000}\n"
    text += "  - guest-physical-access: {kind: read, gpa: 0x40005000}\n"
    text += "  - guest-physical-access: {kind: read, gpa: 0x80003000}\n"
    // Misses in some of the blocks.
    for page in pages where page < 512 || page >= 0x40000 {
      text += "  - access: {kind: write, gva: \(page << 12 | 8)}\n"
    }
    text += "  - guest-physical-access: {vcpu: 1, kind: read, gpa: 0}\n"
    let scenario = try ScenarioReader.read(text, file: "sub-pages.yaml")
    let stage = try Stage(scenario.machine)
    let failed = ScenarioPlayer().play(scenario, on: stage)
    #expect(failed == nil)
    return stage
  }

  /// A write to so many bytes.
  private struct Write {
    var address: UInt64
    var count: UInt64
  }

  private func writes(_ number: Int) -> [Write] {
    var dice = Dice(state: 1)
    let regions: [Range<UInt64>] = [
      0..<0x100_0000, 0..<0x20_0000, 0x1F_F000..<0x20_1000, 0x4000_0000..<0x4000_8000,
      0x401F_0000..<0x4030_0000, 0x8000_0000..<0x8000_5000, 0xC000_0000..<0xC000_1000,
    ]
    return (0..<number).map { _ in
      let region = regions[Int(dice.next() >> 20 % 7)]
      let address = region.lowerBound + dice.next() >> 8 % UInt64(region.count)
      let counts: [UInt64] = [1, 2, 4, 8, 8, 16, 64, 200]
      return Write(address: address, count: counts[Int(dice.next() >> 20 & 7)])
    }
  }

  /// What the hardware model makes of a write, in the script's words.
  private func verdict(
    _ write: Write, _ hardware: inout Processor, _ root: TableExport.Root
  ) -> String {
    var registers = ControlRegisters()
    registers.cr0 = 0x11
    var done: UInt64 = 0
    while done < write.count {
      let address = write.address + done
      let count = min(write.count - done, 4096 - address & 0xFFF)
      let outcome = hardware.translate(
        GuestVirtual(address), .write, .supervisor, registers, through: root.dimension,
        byteCount: count)
      switch outcome {
      case .translated: done += count
      case .exit(.eptViolation): return "violation"
      case .exit(.eptMisconfiguration): return "malformed"
      case .exit(.subpageEvent(let qualification, _, _)):
        return qualification & 1 << 11 != 0 ? "miss" : "misconfiguration"
      default: return "\(outcome)"
      }
    }
    return "allowed"
  }

  private func hardware(_ stage: Stage, _ root: TableExport.Root) throws -> Processor {
    var hardware = stage.forgetfulProcessor()
    let table = try #require(root.subpageTable)
    hardware.subpageControls = SubpageControls(pointer: table.raw)
    return hardware
  }

  private func judge(_ folder: URL, _ processor: Int, _ writes: [Write]) throws -> [String] {
    try ExportScript(name: "judge-writes.py")
      .answers(of: folder, processor, to: writes.lazy.map { "\($0.address) \($0.count)" })
  }

  @Test(
    "come to the same verdict on 100,000 writes by a script that knows only the manual",
    arguments: [4, 5])
  func sameVerdicts(levels: Int) throws {
    let stage = try stage(levels: levels)
    let export = TableExport(stage.machine)
    let writes = writes(levels == 4 ? 100_000 : 10_000)
    try withFolder { folder in
      try export.write(stage.machine, to: folder.path)
      for root in levels == 4 ? export.roots.prefix(1) : export.roots.prefix(2) {
        var hardware = try hardware(stage, root)
        let found = try judge(folder, root.processor, writes)
        #expect(found.count == writes.count)
        var counts: [String: Int] = [:]
        for (write, found) in zip(writes, found) {
          let expected = verdict(write, &hardware, root)
          counts[found, default: 0] += 1
          if found != expected {
            Issue.record("\(write): \(found), the hardware model says \(expected)")
          }
        }
        for word in ["allowed", "violation", "miss"] {
          #expect(counts[word, default: 0] > writes.count / 1000)
        }
        #expect(counts.count == 3, "the machine's tables are well-formed: \(counts)")
      }
    }
  }

  @Test("say something else when one bit is another")
  func oneBit() throws {
    let stage = try stage(levels: 4)
    let export = TableExport(stage.machine)
    let root = try #require(export.roots.first)
    let memory = stage.machine.tables.memory
    // The page has some sub-pages that may be written, and some that may not.
    let address: UInt64 = 0x4000_5000
    let writes = (0..<32).map { Write(address: address + 128 * $0, count: 1) }
    try withFolder { folder in
      try export.write(stage.machine, to: folder.path)
      let file = folder.appendingPathComponent("frames.bin")
      let sound = try Data(contentsOf: file)
      let right = try judge(folder, 0, writes)
      #expect(Set(right) == ["allowed", "violation"])
      let spoil = { (table: HostFrame, place: UInt64, bit: Int) in
        let index = try #require(export.tables.firstIndex { $0.frame == table })
        var spoilt = sound
        spoilt[index << 12 + Int(place) + bit / 8] ^= 1 << (bit % 8)
        try spoilt.write(to: file)
        let wrong = try judge(folder, 0, writes)
        #expect(wrong != right, "table \(table.number), entry at \(place), bit \(bit)")
      }
      var table = try #require(root.subpageTable).frame
      for depth in [4, 3, 2, 1] as [UInt64] {
        let place = (address >> (9 * depth)) & 0xFF8
        // Every bit of a vector; of others the valid bit, reserved ones and some of the frame's.
        let bits = depth == 1 ? Array(0..<64) : [0, 1, 11, 13, 30, 45, 46, 52, 63]
        for bit in bits { try spoil(table, place, bit) }
        table = HostPhysical(memory.entry(at: table.address + place)).frame
      }
      guard case .ept(let eptp) = root.dimension else {
        Issue.record("\(root.dimension)")
        return
      }
      table = HostPhysical(eptp).frame
      for depth in [4, 3, 2, 1] as [UInt64] {
        let place = (address >> (9 * depth)) & 0xFF8
        for bit in depth == 1 ? [0, 1, 61] : [0, 13, 30] { try spoil(table, place, bit) }
        table = HostPhysical(memory.entry(at: table.address + place) & 0xF_FFFF_FFFF_F000).frame
      }
    }
  }
}
