import Foundation
import Testing

/// A script in Python that reads exported tables, and what it is asked.
struct ExportScript {
  let name: String

  /// What the script prints of each line that it is given, about a processor's tables in a folder.
  func answers(
    of folder: URL, _ processor: Int, to questions: some Sequence<String>
  ) throws -> [String] {
    let input = folder.appendingPathComponent("questions")
    try Data(questions.map { $0 + "\n" }.joined().utf8).write(to: input)
    let output = folder.appendingPathComponent("answers")
    try Data().write(to: output)
    let script = Bundle.module.bundleURL.appendingPathComponent("Resources/\(name)")
    let python = Process()
    python.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    python.arguments = ["python3", script.path, folder.path, "\(processor)"]
    python.standardInput = try FileHandle(forReadingFrom: input)
    python.standardOutput = try FileHandle(forWritingTo: output)
    try python.run()
    python.waitUntilExit()
    #expect(python.terminationStatus == 0)
    return try String(contentsOf: output, encoding: .utf8).split(separator: "\n").map(String.init)
  }
}

/// Gives a folder that is there as long as the body runs.
func withFolder(_ body: (URL) throws -> Void) throws {
  let folder = FileManager.default.temporaryDirectory
    .appendingPathComponent("penumbra-export-\(UUID().uuidString)")
  defer { try? FileManager.default.removeItem(at: folder) }
  try body(folder)
}
