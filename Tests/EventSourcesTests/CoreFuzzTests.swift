import Foundation
import PagingUnits
import Testing
import X86Paging

@testable import EventSources

/// Words that sizes and offsets go wrong by.
private let oddWords: [UInt64] = [
  0, 1, 7, 8, 55, 4095, 4096, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 63, .max, .max - 1, .max - 4095,
]

@Suite("No core crashes the reader")
struct CoreFuzzTests {
  /// Changes a few bytes or words among the first `limit` bytes.
  private func mutate(
    _ file: [UInt8], below limit: Int, _ chance: inout SeededGenerator
  ) -> [UInt8] {
    var list = ByteList(bytes: file)
    for _ in 0..<Int.random(in: 1...6, using: &chance) {
      let offset = Int.random(in: 0..<(limit - 8), using: &chance)
      switch Int.random(in: 0..<5, using: &chance) {
      case 0: list.bytes[offset] = UInt8.random(in: 0...255, using: &chance)
      case 1: list.bytes[offset] ^= 1 << UInt8.random(in: 0..<8, using: &chance)
      case 2: list.put(oddWords.randomElement(using: &chance) ?? 0, at: offset & ~7)
      case 3:
        list.put(
          UInt32(truncatingIfNeeded: oddWords.randomElement(using: &chance) ?? 0),
          at: offset & ~3)
      default: list.put(UInt16.random(in: 0...UInt16.max, using: &chance), at: offset & ~1)
      }
    }
    if Int.random(in: 0..<4, using: &chance) == 0 {
      list.bytes.removeLast(Int.random(in: 0..<list.bytes.count, using: &chance))
    }
    return list.bytes
  }

  /// Reads a file as far as it goes, walks what it calls tables, and tells whether it was accepted.
  private func exercise(_ bytes: [UInt8], _ chance: inout SeededGenerator) -> Bool {
    withFile(bytes) { file in
      do throws(ImageError) {
        let core = try ELFCore(file)
        #expect(core.segments.count <= bytes.count / 32)
        #expect(core.processors.count <= bytes.count / 12)
        var image = try MemoryImage(core.pieces(of: file))
        guard let processor = core.processors.first,
          let registers = processor.registers(in: core.architecture)
        else { return true }
        let rules = WalkRules(registers, features: PagingFeatures(physicalBits: 52))
        for _ in 0..<8 {
          let address = GuestVirtual(UInt64.random(in: 0...UInt64.max, using: &chance))
          _ = rules.walk(
            address, .read, by: .supervisor, registers, marking: .report, in: &image)
        }
        var cursor = MappingCursor(rules, registers, tableLimit: 16)
        var pages = 0
        while cursor.next(in: &image) != nil { pages += 1 }
        #expect(pages <= 16 * 1024)
        return true
      } catch {
        #expect(!"\(error)".isEmpty)
        return false
      }
    }
  }

  @Test("mutated small cores of both classes are read or refused", arguments: [true, false])
  func synthetic(isWide: Bool) {
    var chance = SeededGenerator(seed: isWide ? 1 : 2)
    var builder = CoreBuilder(isWide: isWide, machine: isWide ? 62 : 3)
    builder.hasExtendedCount = true
    builder.addStatus(rip: 0, cs: 0x10)
    builder.addState(rip: 0, cs: 0x10, cr0: 0x8005_0033, cr3: 0x1000, cr4: 0x20)
    builder.addNote("VMCOREINFO", Array("NUMBER(phys_base)=1\nSYMBOL(swapper_pg_dir)=f".utf8))
    for index in 0..<4 as Range<UInt64> {
      builder.segments.append(
        .init(
          address: 0x1000 * (index + 1),
          contents: (0..<64).map { UInt8(truncatingIfNeeded: $0 &* 7) }))
    }
    let file = builder.file
    var accepted = 0
    for _ in 0..<4000 where exercise(mutate(file, below: file.count, &chance), &chance) {
      accepted += 1
    }
    // Both sides of the reader are met.
    #expect(200..<3800 ~= accepted, "\(accepted) of 4000 were accepted")
  }

  @Test("mutated headers of a real core are read or refused")
  func real() throws {
    let url = try #require(
      Bundle.module.url(
        forResource: "linux-6.1-core-headers", withExtension: "bin", subdirectory: "Resources"))
    var file = try Array(Data(contentsOf: url))
    let headers = 0x808
    file += Array(repeating: 0, count: 438_272 - file.count)
    #expect(problem(with: file) == nil)
    var chance = SeededGenerator(seed: 3)
    var accepted = 0
    for _ in 0..<150 where exercise(mutate(file, below: headers, &chance), &chance) {
      accepted += 1
    }
    #expect(10..<140 ~= accepted, "\(accepted) of 150 were accepted")
  }

  @Test("bytes without any sense are refused")
  func noise() {
    var chance = SeededGenerator(seed: 4)
    for _ in 0..<500 {
      let count = Int.random(in: 0..<300, using: &chance)
      var bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &chance) }
      if count > 8 { bytes.replaceSubrange(0..<6, with: [0x7F, 0x45, 0x4C, 0x46, 2, 1]) }
      #expect(!exercise(bytes, &chance))
    }
  }
}
