import EventSources
import ArgumentParser
import Glibc
import PagingUnits
import Reports

/// Translates guest virtual addresses in a memory image.
struct Translate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Translate guest virtual addresses in a memory image, without a VM.",
    discussion: """
      Addresses come from arguments, or with - from standard input, one a line. The image is \
      never written: accessed and dirty bits are reported, not set.

      Text: address, physical address, page size, rights (rwxu: readable, writable, \
      executable, user) and the leaf's bits (Global, large Page, Dirty, Accessed, Cache disable, \
      write Through).

        penumbra translate --core guest.core 0xffffffff81000000 --explain
        penumbra translate --image ram.bin --cr3 0x1000 0x400000 --kind write --cpl 3
        penumbra translate --core guest.core --format json - < addresses
      """)

  @OptionGroup(title: "Image") var image: ImageOptions
  @OptionGroup(title: "Access") var accessOptions: AccessOptions
  @OptionGroup(title: "Report") var report: FormatOptions

  @Flag(help: "Show every entry that is read, decoded, level by level.")
  var explain = false

  @Argument(
    help: ArgumentHelp("Guest virtual addresses, or - for standard input.", valueName: "gva"))
  var addresses: [String]

  func run() throws {
    var view = try image.open()
    let parsed = try addresses.map { text in
      if text == "-" { return nil as GuestVirtual? }
      do {
        return try GuestVirtual(Quantity.option(text))
      } catch {
        throw Failure("address \"\(text)\": \(Quantity.expected) was expected")
      }
    }
    let writer = TranslationWriter(
      access: accessOptions.access, format: report.format, explains: explain)
    var output = Output()
    for address in parsed {
      if let address {
        writer.write(address, &view, to: &output.text)
      } else {
        try translateInput(writer, &view, &output)
      }
    }
    try output.flush()
  }

  /// Translates standard input; what is ready is written before more input is waited for.
  private func translateInput(
    _ writer: TranslationWriter, _ view: inout GuestView, _ output: inout Output
  ) throws {
    var reader = AddressReader()
    do {
      repeat {
        while let address = try reader.next() {
          writer.write(address, &view, to: &output.text)
          try output.flushIfLarge()
        }
        try output.flush()
      } while try reader.fill()
    } catch {
      // The addresses before a malformed line were translated and are told.
      try output.flush()
      throw error
    }
  }
}
