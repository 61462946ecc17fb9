import Foundation

/// The project's own files, as the tests read them.
enum Repository {
  /// The root of the checkout.
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// A source file.
  struct Source: Sendable, CustomStringConvertible {
    let path: String
    let lines: [String]
    var description: String { path }
    /// The target it belongs to.
    var room: String { String(path.split(separator: "/")[1]) }
  }

  /// Every Swift file below the folders, in the order of their paths.
  static func sources(below folders: [String]) -> [Source] {
    var found: [Source] = []
    for folder in folders {
      let url = root.appendingPathComponent(folder)
      guard let walker = FileManager.default.enumerator(at: url, includingPropertiesForKeys: nil)
      else { continue }
      for case let file as URL in walker where file.pathExtension == "swift" {
        let path = String(file.path.dropFirst(root.path.count + 1))
        guard !path.contains("/.build"), let text = try? String(contentsOf: file, encoding: .utf8)
        else { continue }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        found.append(Source(path: path, lines: lines))
      }
    }
    return found.sorted { $0.path < $1.path }
  }
}
