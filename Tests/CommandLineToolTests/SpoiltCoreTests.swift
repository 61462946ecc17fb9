import Foundation
import Testing

@Suite("No file crashes the command")
struct SpoiltCoreTests {
  @Test(
    "a real core with spoilt headers or tables is read, refused or cut short",
    arguments: 0..<4 as Range<UInt64>)
  func spoilt(seed: UInt64) throws {
    let sound = try [UInt8](Data(contentsOf: URL(fileURLWithPath: Tool.linuxCore)))
    var chance = SeededGenerator(seed: seed)
    for round in 0..<12 {
      var core = sound
      let limit = round % 2 == 0 ? 0x808 : core.count
      for _ in 0..<(round % 2 == 0 ? 4 : 4000) {
        core[Int.random(in: 0..<limit, using: &chance)] =
          [0, 0xFF, 0x80, UInt8.random(in: 0...255, using: &chance)].randomElement(using: &chance)
          ?? 0
      }
      if round % 5 == 0 { core.removeLast(Int.random(in: 1..<core.count, using: &chance)) }
      try Tool.withFile(core) { file in
        let listed = try Tool.run(["map", "--core", file, "--table-limit", "2000"])
        #expect([0, 2, 3].contains(listed.status), "seed \(seed) round \(round): \(listed.errors)")
        if listed.status == 2 { #expect(listed.errors.contains(file)) }
        let translated = try Tool.run(
          ["translate", "--core", file, "--explain", "0x400000", "0xffffffff81000000"])
        #expect([0, 2].contains(translated.status), "seed \(seed) round \(round)")
      }
    }
  }
}
