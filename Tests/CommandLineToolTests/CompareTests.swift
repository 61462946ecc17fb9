import Foundation
import Testing

/// The folder of this checkout.
private let checkout = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

private func guest(_ name: String) -> String {
  checkout.appendingPathComponent("Guests/Prebuilt/\(name).elf").path
}

/// The objects that a run wrote, one a line.
private func objects(_ result: Tool.Result) throws -> [[String: Any]] {
  try result.lines.map { line in
    try #require(JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
  }
}

@Suite("penumbra compare")
struct CompareTests {
  @Test("the demonstration shows the same in the five usual modes, in aligned columns")
  func usual() throws {
    let result = try Tool.run(["compare"])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors == "")
    let header = try #require(result.lines.first)
    #expect(
      header.split(separator: " ") == ["shadow", "ept-4k", "ept-2m", "npt-4k", "npt-2m"])
    #expect(Set(result.lines.map(\.count)) == [header.count])
    for title in ["exits", "faults", "table memory", "TLB misses", "  per miss", "seconds"] {
      let line = try #require(result.lines.first { $0.hasPrefix("\(title) ") })
      #expect(line.dropFirst(title.count).split(separator: " ").count >= 5)
    }
    let outputs = try #require(result.lines.first { $0.hasPrefix("bytes of output") })
    #expect(Set(outputs.split(separator: " ").dropFirst(3)).count == 1)
  }

  @Test("under json every mode is an object with every number, and exits add up")
  func json() throws {
    let modes = ["shadow", "shadow-4k", "shadow-local", "ept-1g", "npt-1g"]
    let result = try Tool.run(
      ["compare", guest("paging32"), "--modes", modes.joined(separator: ","), "--format", "json"])
    #expect(result.status == 0, "\(result.errors)")
    let objects = try objects(result)
    #expect(objects.compactMap { $0["mode"] as? String } == modes)
    for object in objects {
      let parts = ["fault", "cr3", "invalidation", "control", "port"]
      let sum = parts.compactMap { object["exits_\($0)"] as? Int }.reduce(0, +)
      #expect(object["exits"] as? Int == sum)
      #expect(object["status"] as? Int == 1)
      let isShadow = (object["mode"] as? String)?.hasPrefix("shadow") == true
      #expect((object["exits_invalidation"] as? Int ?? -1 > 0) == isShadow)
      // Only shadow paging sees the guest's own page faults.
      #expect((object["faults_guest"] as? Int ?? -1 > 0) == isShadow)
    }
  }

  @Test("a guest that shows different things is one line and exit status 1")
  func different() throws {
    // Strict, it insists on PDPTE registers, which AMD's processors lack under nested paging.
    let result = try Tool.run(
      ["compare", guest("pae"), "--append", "strict", "--modes", "ept-4k,npt-4k"])
    #expect(result.status == 1)
    #expect(result.errors.hasPrefix("penumbra: npt-4k and ept-4k end with status 3 and 1"))
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
    #expect(result.lines.count > 10, "the table is shown all the same")
  }

  @Test("a limit that is reached is one line and exit status 3")
  func limit() throws {
    let result = try Tool.run(["compare", "--max-exits", "3", "--modes", "ept-4k"])
    #expect(result.status == 3)
    #expect(result.errors == "penumbra: ept-4k: the limit of exits was reached\n")
  }

  @Test(
    "a mistake is one line that says what was expected, and exit status 2",
    arguments: [
      (["--modes", "shadow,ept-3k"], "\"ept-3k\" is none of shadow, shadow-4k, shadow-local"),
      (["--modes", ""], "\"\" is none of"), (["--modes", "shadow,shadow"], "once"),
      (["--levels", "3"], "4 or 5"), (["--memory", "1"], "1MiB"), (["--timeout", "0"], "above 0"),
      (["--walk-caches", "maybe"], "'off'"), (["/nowhere/at/all"], "/nowhere/at/all"),
      (["/dev/null"], "/dev/null"), ([#filePath], "Multiboot"),
    ])
  func mistakes(arguments: [String], expected: String) throws {
    let result = try Tool.run(["compare"] + arguments)
    #expect(result.status == 2)
    #expect(result.output == "")
    #expect(result.errors.hasPrefix("penumbra: "))
    #expect(result.errors.contains(expected), "\(result.errors)")
    #expect(result.errors.filter { $0 == "\n" }.count == 1)
  }
}
