import PagingUnits
import VirtualMachine
import Yams

/// Reads scenario files.
///
/// Whatever the bytes are, the answer is a scenario or one line that names the file, the line and
/// what was expected.
public struct ScenarioReader {
  /// The most bytes that a file may have.
  public static let byteLimit = 1 << 24
  /// The most steps that a scenario may have, those inside `interleave` included.
  public static let stepLimit = 1_000_000
  /// The most bytes that one action of the host may reach: it may have to move them all.
  static let hostRangeLimit: UInt64 = 1 << 31

  let file: String
  var machine = ScenarioMachine()
  var stepCount = 0
  /// Which round of a `repeat` is being read.
  var round: UInt64?

  /// Reads a scenario from the text of a file.
  ///
  /// * `file`: the name by which messages call it.
  public static func read(_ text: String, file: String) throws(ScenarioError) -> Scenario {
    guard text.utf8.count <= byteLimit else {
      throw ScenarioError(file: file, line: 0, "a file of at most 16 MiB was expected")
    }
    if let line = AliasScan.firstLine(in: text) {
      throw ScenarioError(
        file: file, line: line, "scenarios have no anchors and aliases; a value was expected")
    }
    var reader = ScenarioReader(file: file)
    return try reader.scenario(reader.compose(text))
  }

  private func compose(_ text: String) throws(ScenarioError) -> Node {
    do {
      if let node = try Yams.compose(yaml: text) { return node }
    } catch let error as YamlError {
      let (line, reason) = error.place
      throw ScenarioError(file: file, line: line, reason)
    } catch {
      throw ScenarioError(file: file, line: 0, "\(error)")
    }
    throw ScenarioError(file: file, line: 1, "a mapping with name and steps was expected")
  }

  private mutating func scenario(_ node: Node) throws(ScenarioError) -> Scenario {
    let top = try SectionReader(
      node, "scenario", keys: ["name", "machine", "vm", "steps"], in: file)
    guard let name = try top.text("name"), !name.isEmpty else {
      throw top.problem("name", top.node("name"), expected: "the rule, as a sentence,")
    }
    if let node = top.node("machine") { try readMachine(node) }
    if let node = top.node("vm") { try readVirtualMachine(node) }
    guard let node = top.node("steps"), case .sequence = node else {
      throw top.problem("steps", top.node("steps"), expected: "a list of steps")
    }
    let steps = try readSteps(node)
    return Scenario(name: name, machine: machine, steps: steps)
  }

  private mutating func readMachine(_ node: Node) throws(ScenarioError) {
    let section = try SectionReader(
      node, "machine",
      keys: [
        "vendor", "phys-bits", "guest-phys-bits", "encryption-bit", "host-memory", "levels",
        "features", "largest-page", "prefetch", "tlb-sets", "mischief",
      ], in: file)
    if let vendor = try section.choice("vendor", as: MachineConfiguration.Vendor.self) {
      machine.vendor = vendor
    }
    if let bits = try section.number("phys-bits", 32...52) {
      machine.physicalBits = Int(bits)
      machine.guestPhysicalBits = Int(bits)
    }
    let most = UInt64(machine.physicalBits)
    if let bits = try section.number("guest-phys-bits", 32...most) {
      machine.guestPhysicalBits = Int(bits)
    }
    if let bytes = try section.number("host-memory", (1 << 20)...(1 << 40)) {
      machine.hostBytes = bytes & ~0xFFF
    }
    try readEncryption(section)
    if let levels = try section.number("levels", 4...5) {
      machine.rootLevel = levels == 5 ? .level5 : .level4
    }
    if let words = try section.words(
      "features", ScenarioFeatures.names.map(\.name) + ["tdx"])
    {
      machine.features = []
      for (word, node) in words {
        guard let feature = ScenarioFeatures.names.first(where: { $0.name == word })?.feature else {
          throw notBuilt("feature \(word)", node)
        }
        machine.features.formUnion(feature)
      }
    }
    switch try section.word("largest-page", ["4k", "2m", "1g"]) {
    case "4k": machine.largestPage = .page4K
    case "2m": machine.largestPage = .page2M
    default: break
    }
    if try section.flag("prefetch") == true { machine.prefetch = .present }
    machine.mischief = try section.number("mischief")
    if let sets = try section.number("tlb-sets", 0...4096) {
      guard sets & (sets &- 1) == 0 else {
        throw section.problem(
          "tlb-sets", section.node("tlb-sets"), expected: "0 or a power of two")
      }
      machine.translationSets = Int(sets)
    }
  }

  private mutating func readEncryption(_ section: SectionReader) throws(ScenarioError) {
    guard let bit = try section.number("encryption-bit", 32...51) else { return }
    machine.encryptionBit = Int(bit)
    do throws(EncryptionBitError) {
      try machine.configuration.checkEncryption(memoryBytes: machine.hostBytes)
    } catch {
      throw section.problem(
        "encryption-bit", section.node("encryption-bit"), expected: error.expectation)
    }
  }

  private mutating func readVirtualMachine(_ node: Node) throws(ScenarioError) {
    let section = try SectionReader(
      node, "vm", keys: ["mmu", "special-roots", "shadow-pages", "kind", "vcpus", "quirks"],
      in: file)
    try readQuirks(section)
    if let mmu = try section.choice("mmu", as: MachineConfiguration.TranslationKind.self) {
      machine.mmu = mmu
    }
    if let design = try section.choice(
      "special-roots", as: MachineConfiguration.SpecialRootKind.self)
    {
      machine.specialRoots = design
    }
    if let limit = try section.number("shadow-pages", 64...(1 << 16)) {
      machine.shadowPageLimit = Int(limit)
    }
    if let node = section.node("kind"),
      try section.word("kind", ["normal", "trust-domain"]) == "trust-domain"
    {
      throw notBuilt("kind: trust-domain", node)
    }
    if let count = try section.number("vcpus", 1...64) { machine.processors = Int(count) }
  }

  func notBuilt(_ what: String, _ node: Node) -> ScenarioError {
    ScenarioError(file: file, line: node.line, "\(what) is not built yet")
  }
}

extension YamlError {
  /// The line, from 1, and what the parser found there.
  fileprivate var place: (line: Int, reason: String) {
    switch self {
    case .scanner(let context, let problem, let mark, _),
      .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      if problem.contains("nesting level") {
        return (mark.line, "lists and mappings in so many others were not expected")
      }
      let before = context.map { " \($0.text)" } ?? ""
      return (mark.line, "YAML was expected:\(before) \(problem)")
    case .reader(let problem, _, _, _): return (0, "UTF-8 text was expected: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      let keys = duplicates.joined(separator: ", ")
      return (context.mark.line, "each key once was expected; \(keys) stands twice")
    case .no, .memory, .writer, .emitter, .representer, .dataCouldNotBeDecoded:
      return (0, "YAML was expected: \(self)")
    }
  }
}

/// Looks for YAML's anchors and aliases, which scenarios do not have: a few lines with them can
/// stand for more values than any memory holds.
private enum AliasScan {
  /// The first line, from 1, at which a value starts with `&` or `*`.
  static func firstLine(in text: String) -> Int? {
    var line = 1
    var startsValue = true
    var quote: UInt8 = 0
    var isComment = false
    var previous: UInt8 = 0x0A
    for byte in text.utf8 {
      defer { previous = byte }
      if byte == 0x0A {
        line += 1
        isComment = false
        if quote == 0 { startsValue = true }
        continue
      }
      if isComment { continue }
      if quote != 0 {
        if byte == quote && !(quote == 0x22 && previous == 0x5C) { quote = 0 }
        continue
      }
      switch byte {
      case 0x20, 0x09: continue
      case 0x23 where previous == 0x20 || previous == 0x0A: isComment = true
      case 0x26 where startsValue, 0x2A where startsValue: return line
      case 0x22 where startsValue, 0x27 where startsValue:
        quote = byte
        startsValue = false
      case UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: "?"), UInt8(ascii: ","),
        UInt8(ascii: "["), UInt8(ascii: "{"):
        startsValue = true
      default: startsValue = false
      }
    }
    return nil
  }
}
