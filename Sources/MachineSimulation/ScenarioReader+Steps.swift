import PagingUnits
import Yams

/// Steps, one kind after another.
extension ScenarioReader {
  /// The kinds of steps that exist, by the key that names them.
  static let kinds = [
    "memslot", "write", "read", "registers", "access", "guest-physical-access", "load-cr3",
    "invlpg", "invpcid", "host", "zap-all", "trim", "evict", "refuse", "counters", "tracepoints",
    "table-entry", "processor-tlb", "check", "interleave", "repeat",
    "subpage",
  ]
  /// The kinds of steps that the language has and that are not built yet.
  static let laterKinds = [
    "dirty-log", "attributes", "seamcall", "tdcall", "nested", "invept", "invvpid",
    "invlpga", "recover-huge-pages",
  ]

  /// Reads a list of steps.
  mutating func readSteps(_ node: Node, isInside: Bool = false) throws(ScenarioError) -> [Step] {
    guard case .sequence(let sequence) = node else {
      throw ScenarioError(
        file: file, line: node.line, "\(node.shown) stands where a list of steps was expected")
    }
    var steps: [Step] = []
    for node in sequence {
      stepCount += 1
      guard stepCount <= Self.stepLimit else {
        throw ScenarioError(
          file: file, line: node.line, "at most \(Self.stepLimit) steps were expected")
      }
      if !isInside, let body = Self.repetition(node) {
        steps += try readRepeatedSteps(body)
        continue
      }
      steps.append(try readStep(node, isInside))
    }
    return steps
  }

  /// The fields of a step that repeats others; `nil` for every other step.
  private static func repetition(_ node: Node) -> Node? {
    guard case .mapping(let mapping) = node, mapping.count == 1 else { return nil }
    return mapping["repeat"]
  }

  /// Reads steps that are done several times over, as so many steps; interleavings without a seed
  /// have the number of the round as theirs.
  private mutating func readRepeatedSteps(_ body: Node) throws(ScenarioError) -> [Step] {
    let section = try self.section(body, "repeat", ["times", "steps"])
    let times = try section.requiredNumber("times", 1...10_000)
    guard round == nil, let node = section.node("steps") else {
      throw section.problem(
        "steps", section.node("steps"), expected: "a list of steps, not inside another repeat,")
    }
    defer { round = nil }
    var steps: [Step] = []
    for number in 0..<times {
      round = number
      steps += try readSteps(node)
    }
    return steps
  }

  private mutating func readStep(
    _ node: Node, _ isInside: Bool
  ) throws(ScenarioError) -> Step {
    let (kind, body, expect) = try parts(of: node)
    if Self.laterKinds.contains(kind) { throw notBuilt("step \(kind)", node) }
    if isInside && kind == "interleave" {
      throw ScenarioError(
        file: file, line: node.line, "an interleaving inside an interleaving was not expected")
    }
    let operation = try readOperation(kind, body, expect)
    let expectation = try expect.map { node throws(ScenarioError) in
      try readExpectation(node, kind)
    }
    return Step(operation, expect: expectation ?? .anything, line: node.line)
  }

  /// A step's kind, its fields, and what it expects.
  private func parts(of node: Node) throws(ScenarioError) -> (String, Node, Node?) {
    let known = Self.kinds + Self.laterKinds
    switch node {
    case .scalar(let scalar) where known.contains(scalar.string):
      return (scalar.string, Node("", .implicit, .plain), nil)
    case .mapping(let mapping):
      var found: (String, Node)?
      var expect: Node?
      for (keyNode, value) in mapping {
        let key = keyNode.scalar?.string ?? keyNode.shape
        if key == "expect" {
          expect = value
          continue
        }
        guard known.contains(key), found == nil else {
          let reason =
            found == nil ? "unknown step \"\(key)\"" : "\"\(key)\" is a second step in one"
          throw ScenarioError(
            file: file, line: keyNode.line,
            "\(reason); one of \(Self.kinds.joined(separator: ", ")) was expected, "
              + "and expect if wanted")
        }
        found = (key, value)
      }
      if let (kind, body) = found { return (kind, body, expect) }
      fallthrough
    default:
      throw ScenarioError(
        file: file, line: node.line,
        "\(node.shown) stands where a step was expected: "
          + "one of \(Self.kinds.joined(separator: ", "))")
    }
  }

  private mutating func readOperation(
    _ kind: String, _ body: Node, _ expect: Node?
  ) throws(ScenarioError) -> Operation {
    switch kind {
    case "memslot": return .memslot(try readMemslot(body))
    case "write": return try readWrite(body)
    case "read": return try readRead(body, expect)
    case "registers": return .registers(try readRegisters(body))
    case "access": return .access(try readAccess(body, "access"))
    case "guest-physical-access": return .access(try readAccess(body, "guest-physical-access"))
    case "load-cr3": return try readLoadCR3(body)
    case "invlpg":
      let section = try self.section(body, kind, ["vcpu", "gva"])
      return .invalidatePage(
        processor: try processor(section), GuestVirtual(try section.requiredNumber("gva")))
    case "invpcid":
      let section = try self.section(body, kind, ["vcpu", "type", "pcid", "gva"])
      return .invalidateContext(
        processor: try processor(section), type: Int(try section.requiredNumber("type", 0...3)),
        pcid: UInt16(try section.number("pcid", 0...0xFFFF) ?? 0),
        GuestVirtual(try section.number("gva") ?? 0))
    case "host": return try readHost(body)
    case "trim":
      guard let count = body.number, count <= 1 << 20 else {
        throw ScenarioError(
          file: file, line: body.line,
          "\(body.shown) stands where a number of shadow pages was expected")
      }
      return .trim(Int(count))
    case "evict": return .evict(processor: try processor(section(body, kind, ["vcpu"])))
    case "refuse": return .refuse(try readRefusal(body))
    case "counters": return .counters(processor: try processor(section(body, kind, ["vcpu"])))
    case "table-entry": return try readTableEntry(body)
    case "processor-tlb":
      let section = try self.section(body, kind, ["vcpu", "gva"])
      return .processorTLB(
        processor: try processor(section), GuestVirtual(try section.requiredNumber("gva")))
    case "subpage": return try readSubpage(body)
    case "interleave": return .interleave(try readInterleaving(body))
    case "zap-all", "tracepoints", "check":
      _ = try section(body, kind, [])
      return kind == "zap-all" ? .zapAll : kind == "check" ? .check : .tracepoints
    case "repeat":
      throw ScenarioError(
        file: file, line: body.line,
        "repeat with times and steps, and no expect, was expected outside of interleave")
    default: preconditionFailure("every kind of step is read")
    }
  }

  func section(
    _ node: Node, _ kind: String, _ keys: [String]
  ) throws(ScenarioError) -> SectionReader {
    try SectionReader(node, kind, keys: keys, in: file)
  }

  /// The processor that a step names; 0 without a word.
  func processor(_ section: SectionReader) throws(ScenarioError) -> Int {
    Int(try section.number("vcpu", 0...UInt64(machine.processors - 1)) ?? 0)
  }

  private mutating func readInterleaving(_ body: Node) throws(ScenarioError) -> Interleaving {
    let section = try self.section(body, "interleave", ["seed", "schedule", "together"])
    guard let node = section.node("together"), case .sequence(let sequence) = node,
      2...16 ~= sequence.count
    else {
      throw section.problem(
        "together", section.node("together"), expected: "a list of 2 to 16 lists of steps")
    }
    var together: [[Step]] = []
    for node in sequence { together.append(try readSteps(node, isInside: true)) }
    let order: Interleaving.Order
    if let schedule = try section.numbers("schedule", below: 4) {
      order = .schedule(schedule.map { Int($0) })
    } else {
      order = .seed(try section.number("seed") ?? round ?? 0)
    }
    return Interleaving(order, together: together)
  }
}
