import Foundation

extension ScenarioFiles {
  /// Writes one file; `option` names it in error texts.
  static func write(_ text: String, to file: String, for option: String) throws {
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
    } catch {
      throw Failure("\(option) \(file): a file that can be written was expected")
    }
  }
}
