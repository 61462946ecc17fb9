/// Comparing what came with what was expected.
extension Expectation {
  /// What was expected and what came instead.
  public struct Mismatch: Hashable, Sendable {
    /// What was expected.
    public var expected: String
    /// What came.
    public var found: String
  }

  /// The first part of the expectation that a result does not meet.
  public func mismatch(with result: StepResult) -> Mismatch? {
    if result.isUnlawful && !expectsUnlawful {
      return Mismatch(
        expected: isAnything ? "any lawful outcome" : text, found: result.text)
    }
    // An exit names an address too; whoever expects memory expects no exit.
    if case .exit = result, !isAnything, !fields.contains(where: { $0.name == "exit" }) {
      return Mismatch(expected: text, found: result.text)
    }
    let found = result.fields
    for field in fields {
      if field.name == "ok" {
        if !result.isSuccess { return Mismatch(expected: "ok", found: result.text) }
        continue
      }
      guard let value = found.first(where: { $0.name == field.name })?.value else {
        return Mismatch(expected: field.text, found: result.text)
      }
      guard !field.value.accepts(value) else { continue }
      if case .lines(let expected) = field.value, case .lines(let lines) = value {
        let (missing, after) = Self.firstMissing(expected, in: lines)
        return Mismatch(
          expected: "the tracepoint \"\(missing)\"",
          found: after.isEmpty ? "no more tracepoints" : after.joined(separator: "; "))
      }
      return Mismatch(
        expected: field.text, found: Field(field.name, value).text)
    }
    return nil
  }

  private var expectsUnlawful: Bool {
    fields.contains { $0.name == "violation" || ($0.name == "exit" && $0.value == .word("stuck")) }
  }

  /// The expected line that did not come in its turn, and the lines from there on, a few of them.
  private static func firstMissing(
    _ expected: [String], in lines: [String]
  ) -> (String, [String]) {
    var rest = lines[...]
    for part in expected {
      guard let index = rest.firstIndex(where: { LinePattern.matches($0, part) }) else {
        return (part, Array(rest.prefix(8)))
      }
      rest = rest[(index + 1)...]
    }
    return ("", [])
  }
}

extension Expectation.Value {
  /// Whether a value that came is as expected.
  func accepts(_ found: Expectation.Value) -> Bool {
    switch (self, found) {
    case (.comparison(let comparison, let bound), .number(let number)):
      let signed = Int64(bitPattern: number)
      switch comparison {
      case .atLeast: return signed >= bound
      case .atMost: return signed <= bound
      case .above: return signed > bound
      case .below: return signed < bound
      }
    case (.number(let number), .numbers(let numbers)): return numbers == [number]
    case (.lines(let expected), .lines(let lines)):
      var rest = lines[...]
      for part in expected {
        guard let index = rest.firstIndex(where: { LinePattern.matches($0, part) }) else {
          return false
        }
        rest = rest[(index + 1)...]
      }
      return true
    case (.fields(let expected), .fields(let found)):
      return expected.allSatisfy { field in
        found.contains { $0.name == field.name && field.value.accepts($0.value) }
      }
    case (.word(let expected), .word(let found)):
      return expected == found || LinePattern.matches(found, expected)
    default: return self == found
    }
  }
}

/// A part of a line, in which `*` stands for anything.
enum LinePattern {
  /// Whether the line has the pattern somewhere in it.
  static func matches(_ line: String, _ pattern: String) -> Bool {
    var rest = Substring(line)
    for piece in pattern.split(separator: "*", omittingEmptySubsequences: true) {
      guard let range = rest.firstRange(of: piece) else { return false }
      rest = rest[range.upperBound...]
    }
    return true
  }
}

extension Expectation {
  /// The expectation as a scenario writes it.
  public var text: String {
    if fields == Expectation.ok.fields { return "ok" }
    return fields.map(\.text).joined(separator: ", ")
  }
}

extension Expectation.Field {
  /// The field as a scenario writes it.
  public var text: String { "\(name): \(value.text)" }
}

extension Expectation.Value {
  /// The value as a scenario writes it.
  public var text: String {
    switch self {
    case .number(let number): number < 10 ? "\(number)" : "0x\(String(number, radix: 16))"
    case .comparison(let comparison, let bound): "\"\(comparison.rawValue)\(bound)\""
    case .flag(let flag): "\(flag)"
    case .word(let word): word
    case .numbers(let numbers):
      numbers.count == 1
        ? Self.number(numbers[0]).text
        : "[" + numbers.map { Self.number($0).text }.joined(separator: ", ") + "]"
    case .lines(let lines): lines.joined(separator: "; ")
    case .fields(let fields): "{" + fields.map(\.text).joined(separator: ", ") + "}"
    }
  }
}

extension StepResult {
  /// What came, as a scenario would write it.
  public var text: String {
    if case .done = self { return "ok" }
    if case .interleaved = self { return "ok" }
    return fields.map(\.text).joined(separator: ", ")
  }
}
