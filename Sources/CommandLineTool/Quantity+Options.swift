import ArgumentParser
import EventSources

extension Quantity {
  /// Reads an option's value; throws a sentence that says what was expected.
  static func option(_ text: String) throws -> UInt64 {
    guard let value = parse(text) else { throw ValidationError("\(expected) was expected") }
    return value
  }
}
