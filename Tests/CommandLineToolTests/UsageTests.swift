import Foundation
import Testing

@Suite("Bad usage and unreadable input")
struct UsageTests {
  @Test(
    "every mistake is one line on standard error and exit status 2",
    arguments: [
      (["translate", "0"], "--core FILE or --image FILE[@GPA] was expected"),
      (["translate", "--core", "CORE"], "gva"),
      (["translate", "--core", "CORE", "zz"], "address \"zz\""),
      (["translate", "--core", "CORE", "0x10000000000000000"], "below 2^64"),
      (["translate", "--core", "CORE", "--cr3", "1QiB", "0"], "--cr3"),
      (["translate", "--core", "CORE", "--cpu", "1", "0"], "--cpu 1"),
      (["translate", "--core", "CORE", "--cpl", "1", "0"], "--cpl 1"),
      (["translate", "--core", "CORE", "--kind", "walk", "0"], "'fetch'"),
      (["translate", "--core", "CORE", "--phys-bits", "53", "0"], "from 32 to 52"),
      (["translate", "--core", "CORE", "--nested-root", "0x1000", "0"], "--nested-root"),
      (["translate", "--core", "CORE", "--pkru", "4GiB", "0"], "32 bits"),
      (["translate", "--core", "/nowhere/at/all", "0"], "/nowhere/at/all"),
      (["translate", "--core", "/dev/null", "0"], "regular file"),
      (["translate", "--image", "CORE", "0"], "--cr3 was expected"),
      (["translate", "--image", "CORE@0xffffffffffffffff", "--cr3", "0", "0"], "past 2^64"),
      (["map", "--core", "CORE", "--cr0", "1"], "paging is off"),
      (["map", "--core", "CORE", "--format", "xml"], "'json'"),
      (["frobnicate"], "frobnicate"), (["--frobnicate"], "--frobnicate"),
    ])
  func mistakes(arguments: [String], expected: String) throws {
    let arguments = arguments.map { $0.replacingOccurrences(of: "CORE", with: Tool.linuxCore) }
    let result = try Tool.run(arguments)
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(result.errors.hasPrefix("penumbra: "))
    #expect(result.errors.contains(expected), "\(result.errors)")
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }

  #if !MUTATIONS
    @Test(
      "a build without the trait has no bug to put back",
      arguments: [
        ["mutations"], ["play", "--mutation", "walk-past-level-1", "Scenarios"],
        ["fuzz", "--mutation", "walk-past-level-1"],
      ])
    func knowsNoMutation(arguments: [String]) throws {
      let result = try Tool.run(arguments)
      #expect(result.status == 2)
      #expect(result.output == "")
    }
  #endif

  @Test("a malformed line ends with its number, after the lines before it were answered")
  func malformedLine() throws {
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--format", "json", "-"],
      input: "0x400000\r\n\n \t0x401000 \n12three\n0x402000\n")
    #expect(result.status == 2)
    #expect(result.lines.count == 2)
    #expect(result.errors.contains("standard input, line 4: \"12three\""))
  }

  @Test("a line longer than any number is refused without being kept")
  func endlessLine() throws {
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "-"],
      input: "0x400000\n" + String(repeating: "0", count: 200_000))
    #expect(result.status == 2)
    #expect(result.errors.contains("standard input, line 2"))
  }

  @Test("numbers may have units, and standard input may stand among arguments")
  func numbers() throws {
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "4MiB", "-", "4194304", "0X400000"],
      input: "4096KiB\n")
    #expect(result.lines.count == 4)
    #expect(Set(result.lines).count == 1)
  }

  @Test(
    "help is asked for on standard output with status 0", arguments: [[], ["translate"], ["map"]])
  func help(verb: [String]) throws {
    let result = try Tool.run(verb + ["--help"])
    #expect(result.status == 0)
    #expect(result.output.contains("USAGE: penumbra"))
    #expect(result.errors == "")
  }
}
