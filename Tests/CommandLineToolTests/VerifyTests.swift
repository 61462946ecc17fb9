import Foundation
import Testing

@Suite("penumbra verify")
struct VerifyTests {
  @Test(
    "a spoilt rule ends with exit status 1 and is named, format by format",
    arguments: [
      ("write-protect", "32-bit", "CR0.WP"), ("no-execute", "pae", "NX"),
      ("pkru-wd", "4-level", "PKRU.WD"), ("ept-memory-type", "ept", "EPT memory type"),
      ("dirty", "npt", "dirty bit"), ("spp-first-byte", "spp", "across sub-pages"),
    ])
  func spoilt(rule: String, format: String, name: String) throws {
    let result = try Tool.run(["verify", "--only", format, "--break", rule, "--format", "json"])
    #expect(result.status == 1)
    #expect(
      result.errors == "penumbra: the MMU and the hardware model disagree on 1 of 1 formats\n")
    let line = try #require(result.lines.first)
    #expect(result.lines.count == 1)
    let object = try #require(
      JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
    #expect(object["format"] as? String == format)
    #expect(object["agree"] as? Bool == false)
    #expect((object["rule"] as? String)?.contains(name) == true)
    #expect((object["explanation"] as? [String])?.contains { $0.hasPrefix("MMU: ") } == true)
  }

  @Test("the text explains the case with the entries and both answers")
  func explained() throws {
    let result = try Tool.run(["verify", "--only", "4-level", "--break", "reserved-nx"])
    #expect(result.status == 1)
    for words in [
      "DISAGREE", "rule: NX reserved", "level 4 entry: 0x", "hardware model: page fault",
    ] {
      #expect(result.output.contains(words), "\(result.output)")
    }
  }

  @Test(
    "a mistake is exit status 2 and says what was expected",
    arguments: [
      (["--only", "6-level"], "5-level"), (["--break", "gravity"], "smep"),
      (["--threads", "0"], "1 to 256"), (["--only", "ept", "--break", "pse-36"], "32-bit"),
    ])
  func mistakes(arguments: [String], expected: String) throws {
    let result = try Tool.run(["verify"] + arguments)
    #expect(result.status == 2)
    #expect(result.errors.contains(expected))
  }
}
