/// What must come of a step: values by name, as a scenario's `expect` says them.
public struct Expectation: Hashable, Sendable {
  /// Something that is expected, by name.
  public struct Field: Hashable, Sendable {
    /// The name, as in `expect: {gpa: …}`.
    public var name: String
    /// The value.
    public var value: Value
    /// The line of the file, from 1; 0 without a file.
    public var line: Int

    /// A field in full.
    public init(_ name: String, _ value: Value, line: Int = 0) {
      self.name = name
      self.value = value
      self.line = line
    }
  }

  /// An expected value.
  public enum Value: Hashable, Sendable {
    /// This number.
    case number(UInt64)
    /// A number that compares so.
    case comparison(Comparison, Int64)
    /// Yes or no.
    case flag(Bool)
    /// This word.
    case word(String)
    /// These numbers.
    case numbers([UInt64])
    /// These texts, in this order.
    case lines([String])
    /// Parts by name.
    case fields([Field])
  }

  /// How a number compares.
  public enum Comparison: String, Hashable, Sendable, CaseIterable {
    /// At least.
    case atLeast = ">="
    /// At most.
    case atMost = "<="
    /// More than.
    case above = ">"
    /// Less than.
    case below = "<"
  }

  /// What is expected; empty accepts everything lawful.
  public var fields: [Field]

  /// Everything lawful is accepted.
  public static let anything = Expectation(fields: [])
  /// `expect: ok`.
  public static let ok = Expectation(fields: [Field("ok", .flag(true))])

  /// The fields in full.
  public init(fields: [Field]) { self.fields = fields }

  /// Whether anything is expected.
  public var isAnything: Bool { fields.isEmpty }
}
