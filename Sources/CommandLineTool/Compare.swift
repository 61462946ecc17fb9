import ArgumentParser
import GuestRunner
import PagingUnits
import Reports
import VirtualMachine

/// Runs a guest in several modes, side by side.
struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run the same guest under shadow paging, EPT and NPT, side by side.",
    discussion: """
      Every mode runs the guest from its first instruction to its end, on a machine of its own. \
      What the guest shows (output and exit status) must be the same in all of them. With no \
      image, the demonstration guest.

        penumbra compare
        penumbra compare kernel.elf --modes shadow,ept-2m
        penumbra compare kernel.elf --modes shadow,shadow-local --check --format json

      Modes: shadow, shadow-4k, shadow-local (special roots out of shadow pages), ept-4k, \
      ept-2m, ept-1g, npt-4k, npt-2m, npt-1g. The size is the largest page by which the host \
      backs guest memory: 2m where a mode does not say. The guest sees the same processor \
      everywhere, Intel's without protection keys.

      Exits are those that KVM takes: under shadow paging also MOV to CR3 and INVLPG. Faults are \
      EPT violations and misconfigurations, nested page faults, or page faults. References are \
      entries of page tables that a TLB miss read. Under json they are per miss in hundredths, and \
      the time is in microseconds.

      Exit status: 1 when the guest shows different things, 2 for bad usage or a bad image, 3 when \
      a limit was reached.
      """)

  @Argument(
    help: ArgumentHelp("A Multiboot 1 kernel (ELF or a.out header).", valueName: "image"))
  var image: String?

  @Option(help: ArgumentHelp("The modes, with commas between.", valueName: "list"))
  var modes = ComparedMode.usual.map(\.rawValue).joined(separator: ",")

  @Option(help: ArgumentHelp("Levels of the two-dimensional roots: 4 or 5.", valueName: "n"))
  var levels = 4

  @Option(help: ArgumentHelp("Guest memory in bytes; KiB, MiB, GiB.", valueName: "size"))
  var memory = "128MiB"

  @Option(help: ArgumentHelp("The guest's command line.", valueName: "string"))
  var append = ""

  @Option(help: "Whether processors keep upper entries between walks.")
  var walkCaches = SwitchChoice.on

  @Flag(help: "After every exit, check all invariants and the reference translation.")
  var check = false

  @Option(help: ArgumentHelp("Seconds after which a mode's run ends.", valueName: "seconds"))
  var timeout = 60.0

  @Option(help: ArgumentHelp("Exits after which a mode's run ends.", valueName: "n"))
  var maxExits: UInt64?

  @OptionGroup(title: "Report") var report: FormatOptions

  func run() throws {
    let modes = try ComparedMode.list(self.modes)
    var configuration = try RunConfiguration(openingImage: image, flat: nil)
    try configuration.setMemory(memory)
    guard levels == 4 || levels == 5 else {
      throw Failure("--levels \(levels): 4 or 5 was expected")
    }
    guard timeout > 0, timeout <= 1e9 else {
      throw Failure("--timeout \(timeout): a number of seconds above 0 was expected")
    }
    configuration.rootLevel = Level(levels)
    configuration.commandLine = append
    configuration.walkCaches = walkCaches == .on ? .present : .absent
    configuration.checks = check ? .everyExit : .none
    configuration.timeout = timeout
    configuration.maximumExits = maxExits
    var runs: [ComparedRun] = []
    for mode in modes { runs.append(try run(configuration, in: mode)) }
    try write(runs)
    try judge(runs)
  }

  private func run(_ configuration: RunConfiguration, in mode: ComparedMode) throws -> ComparedRun {
    var mine = configuration
    mode.apply(to: &mine)
    let console = GuestConsole()
    do throws(RunError) {
      let report = try GuestRun(mine, console: console).run()
      return ComparedRun(mode: mode, report: report, output: console.captured)
    } catch {
      if case .image = error { throw Failure("\(image ?? "demonstration"): \(error)") }
      throw Failure("compare: \(error)")
    }
  }

  /// Throws the first thing that is not as it must be.
  private func judge(_ runs: [ComparedRun]) throws {
    for run in runs where run.hitLimit {
      throw Failure("\(run.mode.rawValue): \(run.report.summary)", .limit)
    }
    for run in runs.dropFirst() {
      if let difference = run.difference(from: runs[0]) { throw Failure(difference, .doesNotHold) }
    }
    // All may agree that the machine is broken.
    if let run = runs.first(where: { $0.isBroken }) {
      throw Failure("\(run.mode.rawValue): \(run.report.summary)", .doesNotHold)
    }
  }

  // MARK: The report

  private func write(_ runs: [ComparedRun]) throws {
    var output = Output()
    switch report.format {
    case .text: writeText(runs, to: &output.text)
    case .json: writeJSON(runs, to: &output.text)
    }
    try output.flush()
  }

  private func writeText(_ runs: [ComparedRun], to text: inout TextBuffer) {
    var table = TextTable([.left] + runs.map { _ in .right })
    table.append([""] + runs.map(\.mode.rawValue))
    let columns = runs.map(\.rows)
    for (index, row) in columns[0].enumerated() {
      table.append([row.title] + columns.map { $0[index].text ?? "\($0[index].value)" })
    }
    table.write(to: &text)
  }

  private func writeJSON(_ runs: [ComparedRun], to text: inout TextBuffer) {
    for run in runs {
      text.append("{\"mode\":")
      text.appendQuoted(run.mode.rawValue)
      text.append(",\"ending\":")
      text.appendQuoted(run.report.summary)
      for row in run.rows {
        text.append(",")
        text.appendQuoted(row.key)
        text.append(":")
        text.appendDecimal(row.value)
      }
      text.append("}\n")
    }
  }
}

/// Whether something is there.
enum SwitchChoice: String, ExpressibleByArgument, CaseIterable { case on, off }
