/// Something that must hold of a machine and does not.
public struct Violation: Error, Hashable, Sendable, CustomStringConvertible {
  /// The rule, as a sentence.
  public var rule: String
  /// What was found instead, with the place.
  public var found: String

  /// A broken rule and what was found.
  public init(_ rule: String, found: String) {
    self.rule = rule
    self.found = found
  }

  /// One line.
  public var description: String { "\(rule): \(found)" }
}
