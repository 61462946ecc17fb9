import Testing

/// The same core, asked with an access in mind: a user's text page, a user's read-only page, a
/// kernel's data page.
private let userText = "0x401000"
private let userReadOnly = "0x400000"
private let kernelData = "0xffffffffc01ff000"

@Suite("An access is permitted or faults with its error code")
struct AccessTests {
  private func fault(_ address: String, _ options: String) throws -> String? {
    let result = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--format", "json", address]
        + options.split(separator: " ").map(String.init))
    #expect(result.status == 0)
    let match = result.output.firstMatch(of: /"error_code":"(\w+)"/)
    return match.map { String($0.1) }
  }

  @Test(
    "kind, privilege, AC, and the control registers decide",
    arguments: [
      (userText, "", nil), (userText, "--cpl 3", nil), (userText, "--cpl 3 --kind fetch", nil),
      (userText, "--cpl 3 --kind write", "0x7"), (userText, "--cpl 0", "0x1"),
      (userText, "--cpl 0 --ac", nil), (userText, "--cpl 0 --cr4 0x20", nil),
      (userText, "--kind fetch", "0x11"), (userText, "--cpl 0 --kind fetch --ac", "0x11"),
      (userText, "--cpl 0 --kind write --ac --cr0 0x80000001", nil),
      (userReadOnly, "--cpl 3 --kind fetch", "0x15"), (kernelData, "", nil),
      (kernelData, "--cpl 3", "0x5"), (kernelData, "--cpl 0 --kind write", "0x3"),
      (kernelData, "--cpl 3 --kind write", "0x7"), (userText, "--cpl 3 --pkru 1", "0x25"),
      (userText, "--cpl 3 --efer 0x500", nil), (userReadOnly, "--efer 0x500", "0x9"),
      ("0x401000", "--cr0 1", nil),
    ] as [(String, String, String?)])
  func codes(address: String, options: String, expected: String?) throws {
    #expect(try fault(address, options) == expected)
  }

  @Test("a core's own registers give way to the options, and paging off maps to itself")
  func overrides() throws {
    let off = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--cr0", "1", "--format", "json", "0x401000"])
    #expect(off.output.hasPrefix(#"{"gva":"0x401000","gpa":"0x401000","page_size":4096,"#))
    let outside = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--cr3", "0x7000000", "0x401000"])
    #expect(outside.status == 0)
    #expect(outside.output.contains("the level-4 table at 0x7000000 is outside the image"))
  }

  @Test("--explain shows each entry that is read, from the top down")
  func explain() throws {
    let text = try Tool.run(["translate", "--core", Tool.linuxCore, "--explain", userReadOnly])
    #expect(text.lines.count == 6)
    for (line, level) in zip(text.lines.dropFirst(), [4, 3, 2, 1]) {
      #expect(line.hasPrefix("  level \(level) at 0x"))
    }
    #expect(text.lines[4].contains("4K page 0x32ae000: read-only user accessed no-execute"))
    #expect(text.lines[5] == "  = 0x0000000000400000 0x00000000032ae000 4K r--u ---A--")
    let json = try Tool.run(
      ["translate", "--core", Tool.linuxCore, "--explain", "--format", "json", "0x1000"])
    #expect(json.lines.count == 1)
    #expect(json.output.contains(#","entries":[{"level":4,"address":"0x5572000","entry":"0x"#))
  }
}
