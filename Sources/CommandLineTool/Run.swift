import ArgumentParser
import GuestRunner
import MachineEvents
import Reports

/// Boots a guest program on the MMU.
struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Boot a guest program on the MMU; with no image, the demonstration guest.",
    discussion: """
      Everything the guest fetches, reads or writes is translated by tables that the MMU builds, \
      and its bytes lie scattered over host frames. The guest's serial port and debug console go \
      to standard output, everything that Penumbra says to standard error.

        penumbra run
        penumbra run kernel.elf --vendor amd --levels 5 --backing 4k --stats
        penumbra run kernel.elf --append "test=1" --events trace.txt
        penumbra run kernel.elf --mmu shadow --check
        penumbra run kernel.elf --protect 0x10e080:128 --protect vault

      Under --mmu shadow the MMU's tables take the place of the guest's own, and are as deep as \
      those. --protect refuses writes by sub-pages of 128 bytes (with --mmu direct and --vendor \
      intel); writes to the same sub-pages beside the bytes are counted, not reported.

      Exit status: the guest's own, (value << 1) | 1 for a write to port 0xF4 and 0 for HLT with \
      interrupts off; 2 for a bad image, 118 for a violation under --check, 120 for a triple \
      fault, 122 when a limit was reached, 116 for a write that --protect-action stop refused.
      """)

  @Argument(
    help: ArgumentHelp("A Multiboot 1 kernel (ELF or a.out header).", valueName: "image"))
  var image: String?

  @OptionGroup(title: "Machine") var machine: MachineOptions

  @Option(help: ArgumentHelp("The guest's command line.", valueName: "string"))
  var append = ""

  @Option(
    help: ArgumentHelp("A file for the guest (Multiboot module); repeatable.", valueName: "file"))
  var module: [String] = []

  @Option(
    help: ArgumentHelp("Load a flat binary there, and enter it there.", valueName: "address"))
  var flat: String?

  @Flag(help: "Print function names in reports when the image has symbols.")
  var symbols = false

  @Flag(help: "After every exit, check all invariants and the reference translation.")
  var check = false

  @Option(help: ArgumentHelp("Write tracepoints there, in KVM's own text.", valueName: "file"))
  var events: String?

  @Flag(help: "Print KVM's counters, table memory and the page sizes in use.")
  var stats = false

  @Option(help: ArgumentHelp("Seconds after which the run ends.", valueName: "seconds"))
  var timeout = 60.0

  @Option(help: ArgumentHelp("Exits after which the run ends.", valueName: "n"))
  var maxExits: UInt64?

  @OptionGroup(title: "Report") var report: FormatOptions

  func run() throws {
    var configuration = try RunConfiguration(openingImage: image, flat: flat)
    try machine.apply(to: &configuration)
    guard timeout > 0, timeout <= 1e9 else {
      throw Failure("--timeout \(timeout): a number of seconds above 0 was expected")
    }
    configuration.commandLine = append
    configuration.timeout = timeout
    configuration.maximumExits = maxExits
    configuration.checks = check ? .everyExit : .none
    for name in module {
      configuration.modules.append(
        RunConfiguration.Module(name: name, bytes: try MappedFile(name, for: "--module").array))
    }
    let file = try events.map { try EventFile($0, machine.vendor == .intel ? .intel : .amd) }
    if let file { configuration.tap = file.tap }
    let console = GuestConsole(descriptor: report.format == .text ? 1 : nil)
    let result: RunReport
    do throws(RunError) {
      result = try GuestRun(configuration, console: console).run()
    } catch {
      if case .image = error { throw Failure("\(image ?? "demonstration"): \(error)") }
      throw Failure("run: \(error)")
    }
    try file?.finish()
    try RunOutput(result, configuration, showsStatistics: stats, showsSymbols: symbols)
      .write(as: report.format, console)
    if result.status != 0 { throw ExitCode(result.status) }
  }
}
