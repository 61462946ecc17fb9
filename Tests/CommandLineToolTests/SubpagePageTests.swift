import Foundation
import Testing

/// The page "Guarding 128 bytes" and what the commands on it say.
@Suite("The page on sub-page protection")
struct SubpagePageTests {
  private static let checkout = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// A command of the page and the lines that follow it there.
  private struct Example {
    var arguments: [String]
    var lines: [String]
  }

  private static func examples() throws -> [Example] {
    let page = checkout.appendingPathComponent("Documentation/Penumbra.docc/SubpageProtection.md")
    let text = try String(contentsOf: page, encoding: .utf8)
    return text.components(separatedBy: "```console\n").dropFirst().map { block in
      let lines = block.components(separatedBy: "\n```")[0].components(separatedBy: "\n")
      let words = lines[0].split(separator: " ").dropFirst(2).map { word in
        word.contains("/") ? checkout.appendingPathComponent(String(word)).path : String(word)
      }
      return Example(arguments: words, lines: Array(lines.dropFirst()))
    }
  }

  /// Whether a line is as the page has it, where "…" stands for anything.
  private static func matches(_ line: Substring, _ pattern: String) -> Bool {
    var rest = line
    let pieces = pattern.components(separatedBy: "…")
    for (index, piece) in pieces.enumerated() where piece != "" {
      guard let range = rest.range(of: piece) else { return false }
      if index == 0 && range.lowerBound != rest.startIndex { return false }
      rest = rest[range.upperBound...]
    }
    return rest == "" || pieces.last == ""
  }

  @Test("every line that the page shows comes, in its order, and none between that it does not")
  func shown() throws {
    let examples = try Self.examples()
    #expect(examples.count == 2)
    for example in examples {
      let result = try Tool.run(example.arguments)
      let found = result.lines + result.errors.split(separator: "\n")
      var next = found.startIndex
      var mayLeaveOut = false
      for line in example.lines {
        if line == "…" {
          mayLeaveOut = true
          continue
        }
        if mayLeaveOut {
          next = found[next...].firstIndex { Self.matches($0, line) } ?? found.endIndex
        }
        mayLeaveOut = false
        try #require(next < found.endIndex, "\(line)")
        #expect(Self.matches(found[next], line), "\(line), but \(found[next])")
        next += 1
      }
      #expect(mayLeaveOut || next == found.endIndex)
    }
  }
}
