import MachineEvents
import Yams

/// What steps expect.
extension ScenarioReader {
  /// How the value of an expected name looks.
  private enum Shape {
    case number, numbers(UInt64), bytes, flag, word([String]), text, fault, comparison
  }

  private static let errors = [
    "EEXIST", "EINVAL", "ENOMEM", "ENOENT", "EFAULT", "EBUSY", "EAGAIN", "EIO", "ENXIO",
    "ENODEV", "EPERM",
  ]
  private static let counterNames =
    MachineCounter.allCases.map { "\($0)" } + ProcessorCounter.allCases.map { "\($0)" }

  /// The names that a kind of step may expect.
  private static func names(_ kind: String) -> [(String, Shape)] {
    let error = ("error", Shape.word(errors))
    let exception = ("exception", Shape.word(["gp"]))
    switch kind {
    case "memslot", "write", "zap-all", "trim", "refuse": return [error]
    case "host": return [error, ("young", .flag)]
    case "read": return [error, ("u64", .numbers(64)), ("u32", .numbers(32)), ("bytes", .bytes)]
    case "registers", "load-cr3", "invlpg", "invpcid", "evict": return [exception]
    case "access", "guest-physical-access":
      let exits = [
        "mmio", "memory-fault", "stuck", "spp-miss", "spp-misconfiguration", "spp-violation",
      ]
      return [
        ("gpa", .number), ("hpa", .number), ("value", .number), ("page-size", .number),
        ("page-fault", .fault), ("exit", .word(exits)), exception,
      ]
    case "counters": return counterNames.map { ($0, .comparison) }
    case "table-entry":
      let flags =
        ["present", "leaf", "writable", "user", "executable", "accessed", "dirty"]
        + ["spp", "spp-saved"]
      return [error] + flags.map { ($0, .flag) }
        + [("frame", .number), ("u64", .number), ("level", .number), ("access", .numbers(32))]
    case "subpage": return [error, ("access", .numbers(32))]
    case "processor-tlb": return [("present", .flag)]
    case "check": return [("violation", .text)]
    default: return []
    }
  }

  /// Reads what a kind of step expects.
  func readExpectation(_ node: Node, _ kind: String) throws(ScenarioError) -> Expectation {
    if node.scalar?.string == "ok" { return .ok }
    if kind == "tracepoints" { return try readLines(node) }
    let names = Self.names(kind)
    guard case .mapping = node else {
      throw ScenarioError(
        file: file, line: node.line,
        "\(kind): expect: \(node.shown); ok"
          + (names.isEmpty ? "" : " or any of \(names.map(\.0).joined(separator: ", "))")
          + " was expected")
    }
    let section = try SectionReader(
      node, "\(kind): expect", keys: names.map(\.0), in: file)
    var fields: [Expectation.Field] = []
    for (name, shape) in names {
      guard let value = section.node(name) else { continue }
      fields.append(
        Expectation.Field(name, try read(name, shape, section), line: value.line))
    }
    guard !fields.isEmpty else {
      throw ScenarioError(file: file, line: node.line, "\(kind): expect: something was expected")
    }
    return Expectation(fields: fields)
  }

  private func read(
    _ name: String, _ shape: Shape, _ section: SectionReader
  ) throws(ScenarioError) -> Expectation.Value {
    let node = section.node(name)
    switch shape {
    case .number: return .number(try section.requiredNumber(name))
    case .numbers(let bits): return .numbers(try section.numbers(name, below: bits) ?? [])
    case .flag: return .flag(try section.flag(name) ?? false)
    case .word(let words): return .word(try section.word(name, words) ?? "")
    case .text: return .word(try section.text(name) ?? "")
    case .bytes:
      guard let bytes = Self.bytes(try section.text(name) ?? "") else {
        throw section.problem(name, node, expected: "bytes as hexadecimal digits")
      }
      return .numbers(bytes.map { UInt64($0) })
    case .fault:
      guard let node else { return .fields([]) }
      let part = try SectionReader(
        node, section.name + ": page-fault", keys: ["error-code", "address"], in: file)
      var fields: [Expectation.Field] = []
      for key in ["error-code", "address"] {
        guard let number = try part.number(key) else { continue }
        fields.append(Expectation.Field(key, .number(number), line: node.line))
      }
      return .fields(fields)
    case .comparison: return try readComparison(name, section)
    }
  }

  /// A number, or a text such as ">0".
  private func readComparison(
    _ name: String, _ section: SectionReader
  ) throws(ScenarioError) -> Expectation.Value {
    if let number = section.node(name)?.number { return .number(number) }
    let text = try section.text(name) ?? ""
    for comparison in Expectation.Comparison.allCases where text.hasPrefix(comparison.rawValue) {
      let rest = text.dropFirst(comparison.rawValue.count).filter { $0 != " " }
      if let bound = Int64(rest) { return .comparison(comparison, bound) }
    }
    throw section.problem(
      name, section.node(name), expected: "a number, or a text such as \">0\" or \"<=3\",")
  }

  private func readLines(_ node: Node) throws(ScenarioError) -> Expectation {
    guard case .sequence(let sequence) = node else {
      throw ScenarioError(
        file: file, line: node.line,
        "tracepoints: expect: \(node.shown); a list of parts of lines was expected")
    }
    var lines: [String] = []
    for node in sequence {
      guard let line = node.scalar?.string, !line.isEmpty else {
        throw ScenarioError(
          file: file, line: node.line,
          "tracepoints: expect: \(node.shown); a part of a line was expected")
      }
      lines.append(line)
    }
    return Expectation(fields: [Expectation.Field("lines", .lines(lines), line: node.line)])
  }
}
