import PagingUnits
import Reports
import Testing
import X86Paging

@Suite("Reports of mappings")
struct MappingReportTests {
  private func page(
    _ rights: AccessRights, _ marks: MappingMarks, at linear: UInt64 = 0x40_0123,
    size: UInt64 = 4096
  ) -> MappingReport {
    MappingReport(
      linear: GuestVirtual(linear), physical: GuestPhysical(0x7123), byteCount: size,
      rights: rights, marks: marks)
  }

  @Test("JSON members are those of the contract, for each of the 64 combinations")
  func members() {
    for bits in 0..<64 as Range<UInt8> {
      let rights = AccessRights(rawValue: bits & 7)
      let marks = MappingMarks(rawValue: bits >> 3)
      var text = TextBuffer()
      page(rights, marks).appendMembers(to: &text)
      #expect(
        text.text == """
          "gva":"0x400123","gpa":"0x7123","page_size":4096,\
          "writable":\(rights.contains(.write)),"user":\(rights.contains(.user)),\
          "executable":\(rights.contains(.execute)),"accessed":\(marks.contains(.accessed)),\
          "dirty":\(marks.contains(.dirty)),"global":\(marks.contains(.global))
          """)
    }
  }

  @Test("a line of text has a letter or a dash for each right and mark")
  func lines() {
    var text = TextBuffer()
    page([.write, .user], [.dirty, .global, .writeThrough], size: 2 << 20).appendLine(to: &text)
    page(.all, [.accessed, .large, .cacheDisable]).appendLine(to: &text)
    #expect(
      text.text == """
        0x0000000000400123 0x0000000000007123 2M rw-u G-D--T
        0x0000000000400123 0x0000000000007123 4K rwxu -P-AC-

        """)
  }

  @Test("a run grows over a page that follows and permits the same, and over no other")
  func runs() {
    var run = RangeReport(page([.write], [], at: 0x1000))
    #expect(run.extend(over: page([.write], [], at: 0x3000)) == false)
    #expect(run.extend(over: page([], [], at: 0x2000)) == false)
    #expect(run.extend(over: page([.write], [.dirty], at: 0x2000, size: 0x2000)) == true)
    #expect(run.last == GuestVirtual(0x3FFF))
    #expect(run.byteCount == 0x3000)
    var end = RangeReport(page([], [], at: UInt64.max - 4095))
    #expect(end.last == GuestVirtual(.max))
    #expect(end.extend(over: page([], [], at: 0)) == false)
  }

  @Test("the whole space of 2^64 bytes is told as such")
  func wholeSpace() {
    let run = RangeReport(start: GuestVirtual(0), last: GuestVirtual(.max), rights: [])
    #expect(run.byteCount == nil)
    var text = TextBuffer()
    run.appendJSON(to: &text)
    #expect(text.text.contains("\"size\":18446744073709551616,"))
  }

  @Test("a page fault's JSON is the error code alone; anything else says what it is")
  func faults() {
    func members(_ reason: FaultReport.Reason, _ code: PageFaultErrorCode) -> String {
      var text = TextBuffer()
      FaultReport(linear: GuestVirtual(0x10), code: code, reason: reason)
        .appendMembers(to: &text)
      return text.text
    }
    #expect(
      members(.tables(.permission, .page4K), [.present, .write])
        == #""gva":"0x10","fault":{"error_code":"0x3"}"#)
    #expect(
      members(.tableOutside(GuestPhysical(0x9000), .page2M), .user)
        == #""gva":"0x10","fault":{"error_code":"0x4","reason":"table outside the image","#
        + #""table":"0x9000"}"#)
    #expect(members(.nonCanonical, []).hasSuffix(##""exception":"#GP"}"##))
    #expect(
      members(.secondDimension(GuestPhysical(0x5000), .absentEntry), .user)
        .hasSuffix(#""nested_gpa":"0x5000"}"#))
  }
}
