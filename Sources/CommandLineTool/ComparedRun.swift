import GuestRunner
import MachineEvents

/// What one mode made of the guest.
struct ComparedRun {
  let mode: ComparedMode
  let report: RunReport
  /// Everything that the guest printed.
  let output: [UInt8]

  /// A line of the comparison: a number with a name for people and one for programs.
  struct Row {
    var title: String
    var key: String
    var value: UInt64
    /// How the number is shown, if not as it is.
    var text: String?

    init(_ title: String, _ key: String, _ value: UInt64, text: String? = nil) {
      self.title = title
      self.key = key
      self.value = value
      self.text = text
    }
  }

  private func value(_ counter: ProcessorCounter) -> UInt64 {
    UInt64(max(0, report.processorCounters.first { $0.0 == counter }?.1 ?? 0))
  }

  private func value(_ counter: MachineCounter) -> UInt64 {
    UInt64(max(0, report.machineCounters.first { $0.0 == counter }?.1 ?? 0))
  }

  // MARK: Exits

  /// Under shadow paging each of them leaves the guest; a second dimension leaves the guest its own
  /// tables, root and TLB.
  private var rootLoadExits: UInt64 { mode.isShadow ? report.operations.rootLoads : 0 }
  private var invalidationExits: UInt64 { mode.isShadow ? report.operations.invalidations : 0 }

  private var exits: UInt64 {
    value(.exits) + rootLoadExits + invalidationExits + report.operations.modeChanges
      + value(.io_exits)
  }

  // MARK: Walks

  private var references: UInt64 { report.guestReferences + report.secondReferences }

  /// References for each walk, with two places, rounded.
  private var referencesPerMiss: (hundredths: UInt64, text: String) {
    guard report.walks > 0 else { return (0, "-") }
    let hundredths = (references * 100 + report.walks / 2) / report.walks
    let rest = hundredths % 100
    return (hundredths, "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)")
  }

  private var seconds: String {
    let milliseconds = UInt64(report.seconds * 1000)
    let digits = String(milliseconds % 1000)
    return "\(milliseconds / 1000).\(String(repeating: "0", count: 3 - digits.count))\(digits)"
  }

  // MARK: Rows

  /// Every number of the run, in the order in which it is shown.
  var rows: [Row] {
    let perMiss = referencesPerMiss
    return [
      Row("exit status", "status", UInt64(report.status)),
      Row("bytes of output", "output_bytes", report.outputBytes),
      Row("exits", "exits", exits),
      Row("  memory faults", "exits_fault", value(.exits)),
      Row("  MOV to CR3", "exits_cr3", rootLoadExits),
      Row("  INVLPG, INVPCID", "exits_invalidation", invalidationExits),
      Row("  other control registers", "exits_control", report.operations.modeChanges),
      Row("  ports", "exits_port", value(.io_exits)),
      Row("faults", "faults", value(.exits)),
      Row("  fixed", "faults_fixed", value(.pf_fixed)),
      Row("  already permitted", "faults_spurious", value(.pf_spurious)),
      Row("  the guest's own", "faults_guest", value(.pf_guest)),
      Row("  stores performed for it", "faults_store", value(.insn_emulation)),
      Row("  devices", "faults_device", value(.mmio_exits)),
      Row("tables in use", "tables", UInt64(report.liveTables)),
      Row(
        "table memory", "table_bytes", UInt64(report.liveTables) << 12,
        text: "\(report.liveTables * 4) KiB"),
      Row("pages of 4 KiB", "pages_4k", value(.pages_4k)),
      Row("pages of 2 MiB", "pages_2m", value(.pages_2m)),
      Row("pages of 1 GiB", "pages_1g", value(.pages_1g)),
      Row("TLB misses", "tlb_misses", report.walks),
      Row("references", "references", references),
      Row("  per miss", "references_per_miss", perMiss.hundredths, text: perMiss.text),
      Row("seconds", "microseconds", UInt64(report.seconds * 1e6), text: seconds),
    ]
  }

  // MARK: What the guest shows

  /// How this run's guest-visible result differs from another's; `nil` when it does not.
  func difference(from other: ComparedRun) -> String? {
    let names = "\(mode.rawValue) and \(other.mode.rawValue)"
    if report.status != other.report.status {
      return "\(names) end with status \(report.status) and \(other.report.status): "
        + "\(report.summary); \(other.report.summary)"
    }
    guard output != other.output else { return nil }
    var line = 1
    for (mine, theirs) in zip(output, other.output) {
      if mine != theirs { break }
      if mine == 0x0A { line += 1 }
    }
    return "\(names) print different things from line \(line) on"
  }

  /// Whether the run ended by no doing of the guest's.
  var isBroken: Bool {
    switch report.ending {
    case .violation, .hostFailure, .unsupported: true
    default: false
    }
  }

  /// Whether a limit ended the run.
  var hitLimit: Bool {
    switch report.ending {
    case .timeout, .exitLimit: true
    default: false
    }
  }
}
