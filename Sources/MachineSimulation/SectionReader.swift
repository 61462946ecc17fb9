import EventSources
import PagingUnits
import Yams

/// A mapping of a scenario file: values by key, each checked when it is asked for.
///
/// A key that the section does not have is an error at its line, as soon as the section is opened.
struct SectionReader {
  let file: String
  /// What the section is called in messages.
  let name: String
  /// The line at which it starts.
  let line: Int
  private let values: [String: Node]

  /// Opens a section that may have these keys; an empty section stands for no keys.
  init(
    _ node: Node, _ name: String, keys: [String], in file: String
  ) throws(ScenarioError) {
    self.file = file
    self.name = name
    line = node.line
    guard case .mapping(let mapping) = node else {
      guard node.isEmpty else {
        throw ScenarioError(
          file: file, line: node.line,
          "\(name): \(node.shape) stands where \(Self.list(keys)) were expected")
      }
      values = [:]
      return
    }
    var values: [String: Node] = [:]
    for (keyNode, value) in mapping {
      guard let key = keyNode.scalar?.string, keys.contains(key) else {
        throw ScenarioError(
          file: file, line: keyNode.line,
          "\(name): unknown key \"\(keyNode.scalar?.string ?? keyNode.shape)\"; "
            + "\(Self.list(keys)) were expected")
      }
      values[key] = value
    }
    self.values = values
  }

  private static func list(_ keys: [String]) -> String {
    keys.isEmpty ? "no keys" : keys.joined(separator: ", ")
  }

  /// The value of a key, whatever it is.
  func node(_ key: String) -> Node? { values[key] }

  /// Whether the key is there.
  func has(_ key: String) -> Bool { values[key] != nil }

  func problem(_ key: String, _ found: Node?, expected: String) -> ScenarioError {
    ScenarioError(
      file: file, line: found?.line ?? line,
      found.map { "\(name): \(key): \($0.shown); \(expected) was expected" }
        ?? "\(name): \(key) is missing; \(expected) was expected")
  }

  /// A number; `nil` where the key is not.
  func number(
    _ key: String, _ range: ClosedRange<UInt64> = 0...UInt64.max
  ) throws(ScenarioError) -> UInt64? {
    guard let node = values[key] else { return nil }
    guard let number = node.number, range.contains(number) else {
      throw problem(key, node, expected: Self.sentence(range))
    }
    return number
  }

  /// A number that must be there.
  func requiredNumber(
    _ key: String, _ range: ClosedRange<UInt64> = 0...UInt64.max
  ) throws(ScenarioError) -> UInt64 {
    guard let number = try number(key, range) else {
      throw problem(key, nil, expected: Self.sentence(range))
    }
    return number
  }

  private static func sentence(_ range: ClosedRange<UInt64>) -> String {
    if range == 0...UInt64.max { return "a number" }
    return "a number from \(range.lowerBound) to \(range.upperBound)"
  }

  /// One number or a list of numbers, each below a limit.
  func numbers(_ key: String, below bits: UInt64) throws(ScenarioError) -> [UInt64]? {
    guard let node = values[key] else { return nil }
    let nodes: [Node]
    if case .sequence(let sequence) = node { nodes = Array(sequence) } else { nodes = [node] }
    var numbers: [UInt64] = []
    for node in nodes {
      guard let number = node.number, bits == 64 || number >> bits == 0 else {
        throw problem(key, node, expected: "a number below 2^\(bits)")
      }
      numbers.append(number)
    }
    return numbers
  }

  /// `true` or `false`; `nil` where the key is not.
  func flag(_ key: String) throws(ScenarioError) -> Bool? {
    guard let node = values[key] else { return nil }
    switch node.scalar?.string {
    case "true": return true
    case "false": return false
    default: throw problem(key, node, expected: "true or false")
    }
  }

  /// One word of a list.
  func word(_ key: String, _ words: [String]) throws(ScenarioError) -> String? {
    guard let node = values[key] else { return nil }
    guard let word = node.scalar?.string, words.contains(word) else {
      throw problem(key, node, expected: "one of \(words.joined(separator: ", "))")
    }
    return word
  }

  /// Any text.
  func text(_ key: String) throws(ScenarioError) -> String? {
    guard let node = values[key] else { return nil }
    guard let text = node.scalar?.string else { throw problem(key, node, expected: "a text") }
    return text
  }

  /// A list of words of a list.
  func words(_ key: String, _ words: [String]) throws(ScenarioError) -> [(String, Node)]? {
    guard let node = values[key] else { return nil }
    guard case .sequence(let sequence) = node else {
      throw problem(key, node, expected: "a list of \(words.joined(separator: ", "))")
    }
    var found: [(String, Node)] = []
    for node in sequence {
      guard let word = node.scalar?.string, words.contains(word) else {
        throw problem(key, node, expected: "any of \(words.joined(separator: ", "))")
      }
      found.append((word, node))
    }
    return found
  }

  /// A named value.
  func choice<Value: CaseIterable & RawRepresentable<String>>(
    _ key: String, as type: Value.Type = Value.self
  ) throws(ScenarioError) -> Value? {
    guard let word = try word(key, Value.allCases.map(\.rawValue)) else { return nil }
    return Value(rawValue: word)
  }
}

extension Node {
  /// The line of the file, from 1.
  var line: Int { mark?.line ?? 0 }

  /// Whether nothing stands there.
  var isEmpty: Bool {
    guard case .scalar(let scalar) = self else { return false }
    return scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
  }

  /// The number that stands there; never a quoted text.
  var number: UInt64? {
    guard case .scalar(let scalar) = self, scalar.style == .plain || scalar.style == .any else {
      return nil
    }
    return Quantity.parse(scalar.string)
  }

  /// What stands there, for messages.
  var shape: String {
    switch self {
    case .scalar(let scalar): "\"\(scalar.string.prefix(60))\""
    case .mapping: "a mapping"
    case .sequence: "a list"
    case .alias: "an alias"
    }
  }

  /// What stands there, as part of a sentence.
  var shown: String { isEmpty ? "nothing" : shape }
}
