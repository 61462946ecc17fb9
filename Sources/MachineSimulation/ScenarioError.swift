/// Why a file is no scenario, or none that can be played yet: one line that says where, what and
/// what was expected.
public struct ScenarioError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The file, as it was named.
  public var file: String
  /// The line, from 1; 0 for the file as a whole.
  public var line: Int
  /// What is wrong, and what was expected.
  public var message: String

  /// A reason in full.
  public init(file: String, line: Int, _ message: String) {
    self.file = file
    self.line = line
    self.message = message
  }

  /// The one line: file, line, reason.
  public var description: String {
    line > 0 ? "\(file):\(line): \(message)" : "\(file): \(message)"
  }
}
