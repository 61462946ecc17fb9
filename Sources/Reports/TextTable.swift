/// A table of text whose columns are as wide as their widest cell.
///
/// For reports of a screen or two; everything is kept until it is written.
public struct TextTable: Sendable {
  /// How a column's cells stand.
  public enum Alignment: UInt8, Hashable, Sendable {
    /// Words: at the left edge.
    case left
    /// Numbers: at the right edge.
    case right
  }

  private let alignments: [Alignment]
  private var rows: [[String]] = []

  /// A table without rows, with a column for each alignment.
  public init(_ alignments: [Alignment]) { self.alignments = alignments }

  /// Adds a row; traps when it has not a cell for each column.
  public mutating func append(_ cells: [String]) {
    precondition(cells.count == alignments.count, "a row has a cell for each column")
    rows.append(cells)
  }

  /// Writes the rows, two spaces between columns, no spaces at the end of a line.
  public func write(to text: inout TextBuffer, indent: Int = 0) {
    var widths = [Int](repeating: 0, count: alignments.count)
    for row in rows {
      for column in row.indices {
        widths[column] = max(widths[column], row[column].unicodeScalars.count)
      }
    }
    for row in rows {
      var gap = indent
      for column in row.indices {
        let missing = widths[column] - row[column].unicodeScalars.count
        if alignments[column] == .right { gap += missing }
        guard !row[column].isEmpty else {
          if alignments[column] == .left { gap += missing }
          gap += 2
          continue
        }
        text.append(repeating: 0x20, times: gap)
        text.append(string: row[column])
        gap = 2 + (alignments[column] == .left ? missing : 0)
      }
      text.endLine()
    }
  }
}
