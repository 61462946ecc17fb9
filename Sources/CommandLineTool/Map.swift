import EventSources
import ArgumentParser
import PagingUnits
import Reports
import X86Paging

/// Lists every mapping of an address space.
struct Map: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List every mapping of an address space in a memory image.",
    discussion: """
      Without --pages: runs of addresses with equal rights, with first and last address, \
      size and rights (rwxu: readable, writable, executable, user). With --pages: one line a page \
      as `translate` writes it, whatever its size. One address space a call: the core's CR3, or
      --cr3.

      With --nested-root the tables are reached through it, and the physical addresses listed \
      are the inner guest's.

        penumbra map --core guest.core
        penumbra map --core guest.core --pages --format json
      """)

  @OptionGroup(title: "Image") var image: ImageOptions
  @OptionGroup(title: "Report") var report: FormatOptions

  @Flag(help: "One line a page instead of merged ranges.")
  var pages = false

  @Option(
    name: .customLong("table-limit"),
    help: ArgumentHelp(
      "The most tables to look into; more end the list with exit status 3.",
      discussion: "Tables may point to themselves. Default: 1048576 (4 GiB of tables).",
      valueName: "n"),
    transform: Quantity.option)
  var tableLimit: UInt64 = 1 << 20

  func run() throws {
    var view = try image.open()
    guard view.rules.rootLevel != nil else {
      throw Failure("CR0.PG is 0: paging is off, so there is no mapping to list")
    }
    var cursor = MappingCursor(view.rules, view.registers, tableLimit: tableLimit)
    var output = Output()
    var progress = Progress("pages")
    var range: RangeReport?
    let (pages, format) = (pages, report.format)
    while let page = view.next(after: &cursor) {
      progress.step()
      let mapping = MappingReport(page.linear, page.mapping, view.rules.format)
      if pages {
        Self.write(mapping, format, to: &output.text)
      } else if range?.extend(over: mapping) != true {
        if let range { Self.write(range, format, to: &output.text) }
        range = RangeReport(mapping)
      }
      try output.flushIfLarge()
    }
    if let range { Self.write(range, format, to: &output.text) }
    try output.flush()
    progress.finish()
    try conclude(cursor)
  }

  private static func write(
    _ mapping: MappingReport, _ format: OutputFormat, to text: inout TextBuffer
  ) {
    switch format {
    case .text: mapping.appendLine(to: &text)
    case .json:
      text.append("{")
      mapping.appendMembers(to: &text)
      mapping.appendCacheMembers(to: &text)
      text.append("}\n")
    }
  }

  private static func write(
    _ range: RangeReport, _ format: OutputFormat, to text: inout TextBuffer
  ) {
    switch format {
    case .text: range.appendLine(to: &text)
    case .json: range.appendJSON(to: &text)
    }
  }

  /// Tells what the list leaves out.
  private func conclude(_ cursor: MappingCursor) throws {
    if cursor.absentTableCount > 0 {
      Failure.note("\(cursor.absentTableCount) tables outside the image were left out")
    }
    if cursor.malformedCount > 0 {
      Failure.note("\(cursor.malformedCount) entries with a reserved bit set were left out")
    }
    guard !cursor.reachedLimit else {
      throw Failure(
        "--table-limit \(tableLimit): the list ends here, more tables remain", .limit)
    }
  }
}
