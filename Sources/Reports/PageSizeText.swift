extension TextBuffer {
  /// Writes a size of bytes in the largest unit that divides it: `4K`, `2M`, `1G`, `512T`.
  public mutating func appendSize(_ byteCount: UInt64) {
    var value = byteCount
    var unit = 0
    while unit < 6, value != 0, value & 1023 == 0 {
      value >>= 10
      unit += 1
    }
    appendDecimal(value)
    switch unit {
    case 0: break
    case 1: append("K")
    case 2: append("M")
    case 3: append("G")
    case 4: append("T")
    case 5: append("P")
    default: append("E")
    }
  }
}
