import Reports
import Testing

@Suite("Text on its way out")
struct TextBufferTests {
  /// Numbers of every length, and their neighbours.
  private var numbers: [UInt64] {
    var numbers: [UInt64] = [0, 9, 10, 99, 100, .max]
    for shift in 0..<64 {
      let power = (1 as UInt64) << UInt64(shift)
      numbers += [power - 1, power, power + 1]
    }
    return numbers
  }

  @Test("hexadecimal and decimal agree with the standard library, at every width")
  func numbersAgree() {
    for number in numbers {
      let hex = String(number, radix: 16)
      let decimal = String(number)
      for width in [1, 8, 16, 20] {
        var text = TextBuffer(capacity: 1)
        text.appendHex(number, digits: width)
        #expect(text.text == String(repeating: "0", count: max(0, width - hex.count)) + hex)
        text.removeAll()
        text.appendDecimal(number, width: width, fill: 0x5F)
        #expect(
          text.text == String(repeating: "_", count: max(0, width - decimal.count)) + decimal)
      }
    }
  }

  @Test("a signed number has its sign")
  func signs() {
    for number in [0, 1, -1, Int64.max, Int64.min] {
      var text = TextBuffer()
      text.appendDecimal(number)
      #expect(text.text == String(number))
    }
  }

  @Test("a buffer grows without losing a byte, and forgets without losing its memory")
  func growth() {
    var text = TextBuffer(capacity: 1)
    var expected = ""
    for round in 0..<2000 {
      text.append("ab")
      text.appendDecimal(UInt64(round))
      expected += "ab\(round)"
    }
    #expect(text.text == expected)
    text.removeAll()
    #expect(text.count == 0)
    text.append(string: "x")
    #expect(text.text == "x")
  }

  @Test("a JSON string escapes quotes, backslashes and control bytes")
  func jsonStrings() {
    var text = TextBuffer()
    text.appendQuoted("a\"b\\c\u{1}\nd\u{e9}")
    #expect(text.text == #""a\"b\\c\u0001\u000ad\#u{e9}""#)
  }

  @Test(
    "a size stands in the largest unit that divides it",
    arguments: [
      (4096 as UInt64, "4K"), (2 << 20, "2M"), (1 << 30, "1G"), (0, "0"), (1023, "1023"),
      (124 << 10, "124K"), (512 << 40, "512T"), (1 << 63, "8E"), (.max, "18446744073709551615"),
    ])
  func sizes(byteCount: UInt64, expected: String) {
    var text = TextBuffer()
    text.appendSize(byteCount)
    #expect(text.text == expected)
  }

  @Test("a table's columns are as wide as their widest cell")
  func table() {
    var table = TextTable([.left, .right, .left])
    table.append(["mode", "exits", "why"])
    table.append(["shadow", "12345", ""])
    table.append(["", "7", "none"])
    var text = TextBuffer()
    table.write(to: &text, indent: 1)
    #expect(
      text.text == """
         mode    exits  why
         shadow  12345
                     7  none

        """)
  }
}
