// Members of JSON objects; a report writes its own braces and commas.
extension TextBuffer {
  /// Writes `true` or `false`.
  public mutating func appendTruth(_ value: Bool) {
    if value { append("true") } else { append("false") }
  }

  /// Writes an address as JSON has it here: a string of `0x` and hexadecimal digits, because a JSON
  /// number loses bits beyond 2^53 in many readers.
  public mutating func appendQuotedHex(_ value: UInt64) {
    append("\"0x")
    appendHex(value)
    append(0x22)
  }

  /// Writes `text` as a JSON string.
  public mutating func appendQuoted(_ text: String) {
    append(0x22)
    for byte in text.utf8 {
      switch byte {
      case 0x22, 0x5C:
        append(0x5C)
        append(byte)
      case 0..<0x20:
        append("\\u")
        appendHex(UInt64(byte), digits: 4)
      default: append(byte)
      }
    }
    append(0x22)
  }
}
