public import PagingUnits
public import X86Paging

/// Every entry that a walk read, level by level.
public struct WalkText: Sendable {
  private let entries: EntryText

  /// Words for walks of tables of `format`.
  public init(_ format: EntryFormat) { entries = EntryText(format) }

  /// Writes a line for the step at `level`: where the entry stands, its bits, and their meaning.
  ///
  /// - Parameters:
  ///   - step: the entry that was read.
  ///   - level: the level it was read at.
  ///   - text: where the line goes.
  ///   - indent: how many spaces stand before it.
  public func appendLine(
    _ step: WalkStep, at level: Level, to text: inout TextBuffer, indent: Int = 2
  ) {
    text.append(repeating: 0x20, times: indent)
    text.append("level ")
    text.appendDecimal(UInt64(level.depth))
    text.append(" at ")
    text.appendPrefixedHex(step.address.raw)
    text.append(" reads ")
    text.appendPrefixedHex(step.entry, digits: entries.format.entryShift == 3 ? 16 : 8)
    text.append(" ")
    entries.append(step.entry, at: level, to: &text)
    text.endLine()
  }

  /// Writes the member `entries` as JSON, from the top down.
  public static func appendMember(_ path: WalkPath, to text: inout TextBuffer) {
    text.append(",\"entries\":[")
    var isFirst = true
    var level = path.rootDepth
    while level >= 1 {
      if let step = path[Level(level)] {
        if !isFirst { text.append(",") }
        isFirst = false
        text.append("{\"level\":")
        text.appendDecimal(UInt64(level))
        text.append(",\"address\":")
        text.appendQuotedHex(step.address.raw)
        text.append(",\"entry\":")
        text.appendQuotedHex(step.entry)
        text.append("}")
      }
      level -= 1
    }
    text.append("]")
  }
}
