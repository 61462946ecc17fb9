import PagingUnits
import Reports

/// Translates addresses and writes a report of each.
///
/// The options are plain values here: this runs once an address.
struct TranslationWriter {
  let access: Access
  let format: OutputFormat
  /// Whether every entry that is read is shown.
  let explains: Bool

  /// Writes the report of one address.
  func write(_ address: GuestVirtual, _ view: inout GuestView, to text: inout TextBuffer) {
    if explains {
      Explanation(access: access, format: format).write(address, &view, to: &text)
      return
    }
    switch (view.translate(address, access), format) {
    case (.mapped(let mapping), .text): mapping.appendLine(to: &text)
    case (.fault(let fault), .text): fault.appendLine(to: &text)
    case (.mapped(let mapping), .json):
      text.append("{")
      mapping.appendMembers(to: &text)
      text.append("}\n")
    case (.fault(let fault), .json):
      text.append("{")
      fault.appendMembers(to: &text)
      text.append("}\n")
    }
  }
}
