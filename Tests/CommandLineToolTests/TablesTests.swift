import Foundation
import Testing

@Suite("penumbra tables")
struct TablesTests {
  private let scenario = """
    name: two sizes of pages
    vm: {mmu: direct, vcpus: 2}
    steps:
      - memslot: {id: 0, gpa: 0, size: 16MiB}
      - memslot: {id: 1, gpa: 0x40000000, size: 16MiB, backing: huge-2m}
      - guest-physical-access: {kind: write, gpa: 0x1000}
      - guest-physical-access: {kind: write, gpa: 0x2000}
      - guest-physical-access: {vcpu: 1, kind: write, gpa: 0x40200000}
      - guest-physical-access: {kind: read, gpa: 0x30000000}

    """

  private func run(_ text: String, _ arguments: [String]) throws -> Tool.Result {
    try Tool.withFile(Array(text.utf8)) { file in
      try Tool.run(["tables", "--after", file] + arguments)
    }
  }

  @Test("the tree shows each table, the merged ranges under it, and counts")
  func tree() throws {
    let result = try run(scenario, [])
    #expect(result.status == 0)
    let lines = result.lines.map { $0.drop { $0 == " " } }
    #expect(lines.contains { $0.hasPrefix("processor 0: EPTP 0x") })
    #expect(lines.contains { $0.hasPrefix("0x1000-0x2fff  rwx  2 x 4K") })
    #expect(lines.contains { $0.hasPrefix("0x40200000-0x403fffff  rwx  1 x 2M at 0x") })
    #expect(lines.contains("0x30000000-0x30000fff  device, 1 entry"))
    #expect(lines.contains("tables of level 1  2"))
    #expect(lines.contains("pages of 4K        2"))
    #expect(lines.contains("as above"), "the processors share a root")
  }

  @Test("json is one object a line: roots, tables and ranges")
  func json() throws {
    let result = try run(scenario, ["--format", "json"])
    #expect(result.status == 0)
    var kinds: [String: Int] = [:]
    for line in result.lines {
      let object = try #require(
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      let kind = ["register", "table", "gpa"].first { object[$0] != nil }
      kinds[try #require(kind), default: 0] += 1
    }
    // Two processors on one root: 4 levels, two tables of level 1 and two of level 2.
    #expect(kinds == ["register": 2, "table": 12, "gpa": 6])
  }

  @Test("under shadow paging the tree goes by linear addresses, from CR3")
  func shadow() throws {
    let text = """
      name: a 32-bit guest
      vm: {mmu: shadow, vcpus: 2}
      steps:
        - memslot: {id: 0, gpa: 0, size: 16MiB}
        - write: {gpa: 0x1000, u32: [0x4007]}
        - write: {gpa: 0x1400, u32: [0x1003]}
        - write: {gpa: 0x4000, u32: [0, 0x8067, 0x9067]}
        - registers: {cr0: 0x80010033, cr3: 0x1000, cr4: 0x10, efer: 0}
        - access: {kind: write, gva: 0x1000, cpl: 3}
        - access: {kind: write, gva: 0x2000, cpl: 3}
        - access: {kind: read, gva: 0x40000000, cpl: 0}

      """
    let result = try run(text, [])
    #expect(result.status == 0)
    let lines = result.lines.map { $0.drop { $0 == " " } }
    #expect(lines.first?.hasPrefix("processor 0: CR3 0x") == true)
    for part in [
      "the processor's own", "of the guest's at 0x1000, quadrant 0",
      "of the guest's at 0x1000, quadrant 3", "of the guest's at 0x4000, quadrant 0",
      "0x1000-0x2fff  rwxu  2 x 4K",
    ] {
      #expect(lines.contains { $0.contains(part) }, "\(part) in \(result.output)")
    }
    #expect(lines.contains("tables of level 2  4") && lines.contains("pages of 4K        3"))
    let json = try run(text, ["--format", "json"])
    #expect(json.output.contains("\"register\":\"cr3\"") && json.output.contains("\"levels\":3"))
    #expect(json.output.contains("\"gva\":\"0x1000\",\"last\":\"0x2fff\""))
    #expect(json.output.contains("\"kind\":\"bare\""))
  }

  @Test("the tables of sub-page permissions follow, with each protected page")
  func subpages() throws {
    let text = """
      name: two protected pages
      machine: {features: [nx, ad-bits, spp]}
      steps:
        - memslot: {id: 0, gpa: 0, size: 8MiB}
        - subpage: {enable: true}
        - subpage: {gpa: 0x5000, access: [0x3, 0xffff0000]}
        - subpage: {gpa: 0x400000, access: [0]}
        - access: {kind: write, gva: 0x5000}
        - access: {kind: write, gva: 0x400000}
        - subpage: {gpa: 0x400000, access: [1]}

      """
    let result = try run(text, [])
    #expect(result.status == 0)
    let lines = result.lines.map { $0.drop { $0 == " " } }
    let start = try #require(lines.firstIndex { $0.hasPrefix("SPPTP 0x") })
    let rest = lines[start...]
    #expect(rest.contains("0x5000  writable sub-pages 0x3"))
    #expect(rest.contains("0x6000  writable sub-pages 0xffff0000"))
    // The block that changed is set aside, with what it said before.
    #expect(rest.contains { $0.hasSuffix("from 0x400000, set aside") })
    #expect(rest.contains("0x400000  writable sub-pages 0x0"))
    let json = try run(text, ["--format", "json"])
    #expect(json.output.contains("\"gpa\":\"0x6000\",\"subpages\":\"0xffff0000\"}"))
  }

  @Test("--export writes the frames and what they are")
  func export() throws {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("penumbra-export-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: folder) }
    let result = try run(scenario, ["--export", folder.path])
    #expect(result.status == 0 && result.output.isEmpty && result.errors.isEmpty)
    let bytes = try Data(contentsOf: folder.appendingPathComponent("frames.bin"))
    let frames = try JSONSerialization.jsonObject(
      with: Data(contentsOf: folder.appendingPathComponent("frames.json")))
    let roots = try JSONSerialization.jsonObject(
      with: Data(contentsOf: folder.appendingPathComponent("roots.json")))
    #expect((frames as? [Any])?.count == bytes.count / 4096)
    #expect((roots as? [Any])?.count == 2)
  }

  @Test("a scenario that fails shows the tables after its step, with exit status 1")
  func failing() throws {
    let text = scenario + "  - guest-physical-access: {gpa: 0x3000}\n    expect: {exit: mmio}\n"
    let result = try run(text, [])
    #expect(result.status == 1)
    #expect(result.errors.contains("step 7 did not come as expected"))
    #expect(result.output.contains("0x3000-0x3fff  r-x"))
  }

  @Test("what cannot be read or written is named, with exit status 2")
  func unusable() throws {
    #expect(try Tool.run(["tables"]).status == 2)
    #expect(try Tool.run(["tables", "--after", "/nowhere/at/all"]).status == 2)
    #expect(try run("name: n\nsteps: 7\n", []).status == 2)
    let blocked = try run(scenario, ["--export", "/dev/null/tables"])
    #expect(blocked.status == 2 && blocked.errors.contains("/dev/null/tables"))
  }
}
