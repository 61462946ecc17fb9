import Foundation

/// The project's own files.
enum Repository {
  private static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// The paths of the files below a folder, in order.
  static func files(below folder: String, ending suffix: String) -> [String] {
    let paths = FileManager.default.subpaths(atPath: root.appendingPathComponent(folder).path)
    return (paths ?? []).filter { $0.hasSuffix(suffix) }.map { "\(folder)/\($0)" }.sorted()
  }

  /// A file's text.
  static func text(of path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }
}
