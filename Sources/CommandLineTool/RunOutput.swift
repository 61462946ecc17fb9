import Glibc
import GuestProcessor
import GuestRunner
import MachineEvents
import PagingUnits
import VirtualMachine
import Reports

/// What is said of a run that has ended.
struct RunOutput {
  private let report: RunReport
  private let configuration: RunConfiguration
  private let showsStatistics: Bool
  private let showsSymbols: Bool

  init(
    _ report: RunReport, _ configuration: RunConfiguration, showsStatistics: Bool,
    showsSymbols: Bool
  ) {
    self.report = report
    self.configuration = configuration
    self.showsStatistics = showsStatistics
    self.showsSymbols = showsSymbols
  }

  func write(as format: OutputFormat, _ console: GuestConsole) throws {
    switch format {
    case .text: try writeText()
    case .json: try writeJSON(console)
    }
  }

  // MARK: Text, on standard error

  private func writeText() throws {
    var text = TextBuffer()
    text.append(string: summary)
    text.endLine()
    if isFailure {
      for line in showsSymbols ? report.dump : report.dumpWithoutSymbols {
        text.append(string: line)
        text.endLine()
      }
    }
    if !configuration.protected.isEmpty {
      ProtectionOutput(report.protection, report.symbols).write(to: &text)
    }
    if showsStatistics { writeStatistics(to: &text) }
    // SAFETY: the bytes are used inside the call only.
    unsafe text.withBytes { bytes in
      // SAFETY: the bytes live as long as the call; standard error is not checked for errors.
      unsafe _ = Glibc.write(2, bytes.baseAddress, bytes.count)
    }
  }

  private var isFailure: Bool {
    switch report.ending {
    case .halted, .guestExit, .protectedWrite: false
    default: true
    }
  }

  /// One or two lines that say what the MMU did.
  private var summary: String {
    let format = configuration.features.vendor == .intel ? "EPT" : "NPT"
    let tables =
      configuration.mmu == .shadow
      ? "shadow paging" : "\(configuration.rootLevel.depth)-level \(format)"
    let pages = pageCounts.filter { $0.1 > 0 }.map { "\($0.1) of \($0.0)" }
    let references = report.guestReferences + report.secondReferences
    return """
      penumbra: \(report.summary)
      \(tables): \(value(.exits)) exits, \
      \(value(.pf_fixed)) faults fixed, \(value(.mmio_exits)) device accesses; pages: \
      \(pages.isEmpty ? "none" : pages.joined(separator: ", ")); tables: \
      \(report.tableBytes >> 10) KiB; \(report.walks) walks read \(references) entries; \
      \(seconds) s
      """
  }

  private var seconds: String {
    let milliseconds = Int(report.seconds * 1000)
    let digits = String(milliseconds % 1000)
    return "\(milliseconds / 1000).\(String(repeating: "0", count: 3 - digits.count))\(digits)"
  }

  private var pageCounts: [(String, Int64)] {
    [("4 KiB", value(.pages_4k)), ("2 MiB", value(.pages_2m)), ("1 GiB", value(.pages_1g))]
  }

  private func value(_ counter: MachineCounter) -> Int64 {
    report.machineCounters.first { $0.0 == counter }?.1 ?? 0
  }

  private func value(_ counter: ProcessorCounter) -> Int64 {
    report.processorCounters.first { $0.0 == counter }?.1 ?? 0
  }

  private var statistics: [(String, UInt64)] {
    var rows = report.machineCounters.map { ("\($0.0)", UInt64(max($0.1, 0))) }
    rows += report.processorCounters.map { ("\($0.0)", UInt64(max($0.1, 0))) }
    rows += [
      ("table_bytes", report.tableBytes), ("tlb_fills", report.fills),
      ("hardware_walks", report.walks), ("guest_references", report.guestReferences),
      ("second_references", report.secondReferences),
      ("delivered_events", report.deliveredEvents), ("output_bytes", report.outputBytes),
    ]
    return rows
  }

  private func writeStatistics(to text: inout TextBuffer) {
    var table = TextTable([.left, .right])
    for (name, value) in statistics { table.append([name, "\(value)"]) }
    table.write(to: &text)
  }

  // MARK: JSON, on standard output

  private func writeJSON(_ console: GuestConsole) throws {
    var output = Output()
    for line in console.captured.split(separator: 0x0A, omittingEmptySubsequences: true) {
      output.text.append("{\"guest\":")
      output.text.appendQuoted(String(decoding: line, as: UTF8.self))
      output.text.append("}\n")
      try output.flushIfLarge()
    }
    output.text.append("{\"status\":")
    output.text.appendDecimal(Int64(report.status))
    output.text.append(",\"ending\":")
    output.text.appendQuoted(report.summary)
    for (name, value) in statistics {
      output.text.append(",")
      output.text.appendQuoted(name)
      output.text.append(":")
      output.text.appendDecimal(value)
    }
    output.text.append("}\n")
    if !configuration.protected.isEmpty {
      ProtectionOutput(report.protection, report.symbols).writeJSON(to: &output.text)
    }
    if isFailure {
      for line in report.dump {
        output.text.append("{\"dump\":")
        output.text.appendQuoted(line)
        output.text.append("}\n")
      }
    }
    try output.flush()
  }
}
