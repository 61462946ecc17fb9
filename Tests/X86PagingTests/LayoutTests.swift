import PagingUnits
import Testing
import X86Paging

@Suite("Layouts")
struct LayoutTests {
  @Test(
    "no two fields of a layout share a bit",
    arguments: [
      Bits32Layout.page, Bits32Layout.largePage, GuestEntryLayout.all, EPTEntryLayout.all,
      EPTPointerLayout.all,
    ])
  func disjoint(fields: [Field]) {
    var seen: UInt64 = 0
    for field in fields {
      #expect(seen & field.mask == 0, "\(field)")
      seen |= field.mask
    }
  }
}
