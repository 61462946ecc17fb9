import DirectMMU
import Foundation
import HardwareModel
import HostMemory
import MachineEvents
import MachineSimulation
import PageTables
import PagingUnits
import Testing
import VirtualMachine

/// What the exported tables say to a stranger: a short Python script that knows only the formats.
@Suite("Exported tables")
struct TableExportTests {
  /// A machine of one vendor with a root of 4 or 5 levels.
  struct Kind: CustomTestStringConvertible {
    var vendor: MachineConfiguration.Vendor
    var levels: Int
    var testDescription: String { "\(vendor), \(levels) levels" }

    static let all = MachineConfiguration.Vendor.allCases.flatMap { vendor in
      [4, 5].map { Kind(vendor: vendor, levels: $0) }
    }
  }

  /// A machine with pages of 4 KiB, 2 MiB and 1 GiB, some of them read-only, and devices.
  private func stage(_ kind: Kind) throws -> Stage {
    let physicalBits = kind.levels == 5 ? 51 : 47
    let far = kind.levels == 5 ? "0x2000000000000" : "0x600000000000"
    let text = """
      name: pages of every size
      machine:
        {vendor: \(kind.vendor), levels: \(kind.levels), host-memory: 8GiB,
        phys-bits: \(physicalBits)}
      vm: {mmu: direct, vcpus: 2}
      steps:
        - memslot: {id: 0, gpa: 0, size: 16MiB}
        - memslot: {id: 1, gpa: 0x40000000, size: 16MiB, backing: huge-2m}
        - memslot: {id: 2, gpa: 0x80000000, size: 2GiB, backing: huge-1g}
        - memslot: {id: 3, gpa: 0x200000000, size: 1MiB, flags: [read-only]}
        - memslot: {id: 4, gpa: \(far), size: 4MiB, backing: huge-2m}
        - guest-physical-access: {kind: write, gpa: 0x40200000}
        - guest-physical-access: {kind: read, gpa: 0x40600000}
        - guest-physical-access: {kind: fetch, gpa: 0xc0000000}
        - guest-physical-access: {kind: read, gpa: 0x200003000}
        - guest-physical-access: {kind: write, gpa: \(far)}
        - guest-physical-access: {kind: read, gpa: 0x30000000}
        - guest-physical-access: {vcpu: 1, kind: read, gpa: 0}

      """
    var steps = ""
    for page in stride(from: 0, to: 600, by: 7) {
      steps += "  - guest-physical-access: {kind: write, gpa: \(page << 12)}\n"
    }
    let scenario = try ScenarioReader.read(text + steps, file: "every-size.yaml")
    let stage = try Stage(scenario.machine)
    let failed = ScenarioPlayer().play(scenario, on: stage)
    #expect(failed == nil)
    return stage
  }

  /// Addresses in every mapped page, and others at random and at the edges of what can be mapped.
  private func addresses(_ stage: Stage, _ export: TableExport) throws -> [UInt64] {
    var chance = SeededGenerator(17)
    var addresses: [UInt64] = []
    let root = try #require(export.tables.first { $0.role.level == stage.settings.rootLevel })
    var path = EntryPath(
      in: stage.machine.tables, root: root.frame, level: root.role.level, space: .normal,
      frame: GuestFrame(0))
    repeat {
      guard path.entry.isPresentLeaf(at: path.level) else { continue }
      let start = path.frame.address.raw
      let size = path.level.byteCount
      addresses += [start, start + size - 1, start + chance.next() % size]
    } while path.advance()
    #expect(addresses.count > 3 * 90)
    for _ in 0..<500 { addresses.append(chance.next() >> (12 + chance.next() % 52)) }
    for bit in 12..<64 as Range<UInt64> { addresses += [1 << bit, 1 << bit - 1] }
    return addresses
  }

  /// What the hardware model makes of an address: its answer in the script's words.
  private func answer(_ address: UInt64, _ stage: Stage, _ dimension: SecondDimension) -> String {
    var hardware = stage.forgetfulProcessor()
    var rights = ""
    var place: Translation?
    for (kind, letter) in [(AccessKind.read, "r"), (.write, "w"), (.fetch, "x")] {
      switch hardware.translate(guestPhysical: GuestPhysical(address), kind, through: dimension) {
      case .translated(let translation):
        place = translation
        rights += letter
      case .exit(.eptMisconfiguration): return "malformed"
      case .exit(.nestedPageFault(let code, _)) where code & 8 != 0: return "malformed"
      default: rights += "-"
      }
    }
    guard let place else { return "absent" }
    return "0x\(String(place.hostPhysical.raw, radix: 16)) \(rights) \(place.level.byteCount)"
  }

  /// What the script says of each address, without the level at which a walk ended.
  private func walk(_ folder: URL, _ processor: Int, _ addresses: [UInt64]) throws -> [String] {
    try ExportScript(name: "walk-tables.py")
      .answers(of: folder, processor, to: addresses.lazy.map(String.init)).map { line in
        let words = line.split(separator: " ").dropFirst()
        return words.count == 2 ? String(words.first ?? "") : words.joined(separator: " ")
      }
  }

  @Test(
    "are walked to the same answers by a script that knows only the formats", arguments: Kind.all)
  func sameAnswers(kind: Kind) throws {
    let stage = try stage(kind)
    let export = TableExport(stage.machine)
    let addresses = try addresses(stage, export)
    try withFolder { folder in
      try export.write(stage.machine, to: folder.path)
      for root in export.roots {
        let found = try walk(folder, root.processor, addresses)
        #expect(found.count == addresses.count)
        var kinds: Set<String> = []
        for (address, found) in zip(addresses, found) {
          #expect(
            found == answer(address, stage, root.dimension), "0x\(String(address, radix: 16))")
          kinds.insert(found.split(separator: " ").dropFirst().joined(separator: " "))
        }
        #expect(kinds.isSuperset(of: ["rwx 4096", "rwx 2097152", "rwx 1073741824", "r-x 4096"]))
        #expect(found.contains("absent"))
      }
    }
  }

  @Test(
    "say something else when one bit is another",
    arguments: [Kind(vendor: .intel, levels: 4), Kind(vendor: .amd, levels: 5)])
  func oneBit(kind: Kind) throws {
    let stage = try stage(kind)
    let export = TableExport(stage.machine)
    let address: UInt64 = 0x40200000
    let root = try #require(export.tables.first { $0.role.level == stage.settings.rootLevel })
    var path = EntryPath(
      in: stage.machine.tables, root: root.frame, level: root.role.level, space: .normal,
      frame: GuestPhysical(address).frame)
    try withFolder { folder in
      try export.write(stage.machine, to: folder.path)
      let file = folder.appendingPathComponent("frames.bin")
      let sound = try Data(contentsOf: file)
      #expect(sound.count == export.tables.count * 4096)
      let right = try walk(folder, 0, [address])
      // Every entry on the way, with the bits that mean something at every level and a frame bit
      // that leads elsewhere; then the page-size bit of the leaf.
      repeat {
        let isLeaf = path.entry.isPresentLeaf(at: path.level)
        let execute = kind.vendor == .intel ? 2 : 63
        for bit in [0, 1, execute, 21, 40] + (isLeaf ? [7] : []) {
          let table = try #require(
            export.tables.firstIndex { $0.frame == path.address.frame })
          var spoilt = sound
          let place = table << 12 + Int(path.address.pageOffset) + bit / 8
          spoilt[place] ^= 1 << (bit % 8)
          try spoilt.write(to: file)
          let wrong = try walk(folder, 0, [address])
          #expect(wrong != right, "level \(path.level.depth), bit \(bit)")
        }
      } while path.stepDown(towards: GuestPhysical(address).frame)
      #expect(path.level == .page2M)
    }
  }

  /// A machine under shadow paging whose guest has pages with every right, of two sizes.
  private func shadowStage(
    long: Bool, _ design: String, _ encryption: Int?
  ) throws -> Stage {
    // Directory and table entries of 8 bytes, or of 4.
    let word = long ? "u64" : "u32"
    var text = """
      name: pages of a guest
      machine: {\(encryption.map { "vendor: amd, phys-bits: 43, encryption-bit: \($0)" } ?? "")}
      vm: {mmu: shadow, vcpus: 2, special-roots: \(design)}
      steps:
        - memslot: {id: 0, gpa: 0, size: 16MiB}
        - memslot: {id: 1, gpa: 0x1000000, size: 4MiB, backing: huge-2m}

      """
    if long { text += "  - write: {gpa: 0x1000, u64: [0x2007]}\n" }
    if long { text += "  - write: {gpa: 0x2000, u64: [0x3007]}\n" }
    text += "  - write: {gpa: 0x3000, \(word): [0x4007, 0x10000e7, 0x5007]}\n"
    var entries: [UInt64] = (0..<64).map { $0 << 12 | [0x7, 0x5, 0x3, 0x1][Int($0 % 4)] }
    if long { entries[8] |= 1 << 63 }
    text += "  - write: {gpa: 0x4000, \(word): \(entries)}\n"
    text += "  - write: {gpa: 0x5000, \(word): [0, 0x6007]}\n"
    let (cr3, cr4, efer) = long ? (0x1000, 0x20, 0xD00) : (0x3000, 0x10, 0)
    for processor in 0..<2 {
      text += "  - registers: {vcpu: \(processor), cr0: 0x80010033, cr3: \(cr3), "
      text += "cr4: \(cr4), efer: \(efer)}\n"
      for page in 0..<64 {
        let kind = page % 3 == 0 ? "write" : "read"
        text += "  - access: {vcpu: \(processor), kind: \(kind), gva: \(page << 12), cpl: 0}\n"
      }
      for address in [0x20_0000, 0x40_1000, 0x80_1000] {
        text += "  - access: {vcpu: \(processor), kind: read, gva: \(address), cpl: 3}\n"
      }
    }
    let scenario = try ScenarioReader.read(text, file: "guest.yaml")
    let stage = try Stage(scenario.machine)
    let failed = ScenarioPlayer().play(scenario, on: stage)
    #expect(failed == nil)
    return stage
  }

  @Test(
    "of shadow paging are walked to the same answers from CR3", arguments: [false, true],
    [("tables", nil), ("local-pages", nil), ("tables", 47), ("local-pages", 51)] as [Design])
  func shadow(long: Bool, design: Design) throws {
    let stage = try shadowStage(long: long, design.name, design.encryptionBit)
    let export = TableExport(stage.machine)
    #expect(export.roots.map(\.level.depth) == (long ? [4, 4] : [3, 3]))
    let bare = export.tables.filter { $0.kind == .bare }
    // Each processor has its PDPTEs, or the table that stands in for a root without memory.
    #expect(bare.count == 2)
    var addresses = (0..<70).map { UInt64($0) << 12 | 0x123 }
    addresses += [0x20_0000, 0x3F_FFFF, 0x40_1000, 0x80_1008, 0xC000_0000, 1 << 40]
    try withFolder { folder in
      try export.write(stage.machine, to: folder.path)
      for root in export.roots {
        let found = try walk(folder, root.processor, addresses)
        var rights: Set<Substring> = []
        for (address, found) in zip(addresses, found) {
          #expect(found == shadowAnswer(address, stage, root), "0x\(String(address, radix: 16))")
          if found.first == "0" { rights.insert(found.split(separator: " ")[1]) }
        }
        #expect(rights.isSuperset(of: ["rwx", "r-x", "-wx", "--x"]))
        #expect(rights.contains { $0.hasSuffix("-") } == long)
        #expect(found.contains("absent"))
      }
    }
  }

  /// A design of special roots, and the host's encryption bit.
  typealias Design = (name: String, encryptionBit: Int?)

  /// What the hardware model makes of a linear address.
  private func shadowAnswer(
    _ address: UInt64, _ stage: Stage, _ root: TableExport.Root
  ) -> String {
    var hardware = stage.forgetfulProcessor()
    var registers = ControlRegisters()
    registers.cr0 = 1 << 31 | 1 << 16 | 1
    registers.cr4 = 1 << 5
    registers.efer = root.level == .page1G ? 1 << 11 : 1 << 11 | 1 << 10 | 1 << 8
    registers.cr3 = root.value
    for index in 0..<4 {
      registers.pdptes[index] = hardware.directoryPointer(index, under: registers.cr3)
    }
    guard root.level > .page1G || address < 1 << 32 else { return "absent" }
    var rights = ""
    var place: Translation?
    for (kind, letter) in [(AccessKind.read, "r"), (.write, "w"), (.fetch, "x")] {
      // Reading tells of the user's right, the others of the entries' own.
      switch hardware.translate(
        GuestVirtual(address), kind, kind == .read ? .user : .supervisor, registers,
        through: .none)
      {
      case .translated(let translation):
        place = translation
        rights += letter
      case .pageFault(let code) where code & 8 != 0: return "malformed"
      default: rights += "-"
      }
    }
    guard let place else { return "absent" }
    return "0x\(String(place.hostPhysical.raw, radix: 16)) \(rights) \(place.level.byteCount)"
  }

  @Test("of a machine that nobody entered are none")
  func nothing() throws {
    let stage = try Stage(ScenarioMachine())
    let export = TableExport(stage.machine)
    #expect(export.tables.isEmpty && export.roots.isEmpty)
  }
}
