import ArgumentParser
import MachineSimulation
import Reports

/// Writes what a processor would walk.
struct Tables: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show or export the tables that a machine has built.",
    discussion: """
      Plays a scenario and looks at the machine's tables at its end. Without --export: a tree of \
      the tables, with the ranges that they map, their rights, page sizes and counts. With \
      --export: three files in a folder, so that another processor model can walk our tables.

        frames.bin   the 4096-byte frames that hold tables, one after another
        frames.json  of each: host frame, index in frames.bin, kind, level, role, guest frame
        roots.json   of each processor: EPTP, nCR3 or CR3, SPPTP, levels, vendor, MAXPHYADDR, and
                     the encryption bit, which is no part of an address

      Kinds: direct (EPT, NPT, or linear addresses as they are), shadow (in the place of a table \
      of the guest's), bare (a processor's own part of a special root), spp. Under shadow paging \
      the processor runs with CR0.WP and EFER.NXE, and a root of level 3 is PAE paging's.

        penumbra tables --after Scenarios/faults/large-pages.yaml
        penumbra tables --after some.yaml --export tables

      Exit status 1 when the scenario fails; the tables are those after the step that did.
      """)

  @Option(help: ArgumentHelp("The scenario to be played first.", valueName: "scenario"))
  var after: String

  @Option(
    name: .customLong("export"),
    help: ArgumentHelp("The folder to write the files to.", valueName: "dir"))
  var folder: String?

  @OptionGroup(title: "Report") var report: FormatOptions

  func run() throws {
    let scenario = try ScenarioFiles.read(after)
    let stage: Stage
    do {
      stage = try Stage(scenario.machine)
    } catch {
      throw Failure("\(after): \(error.message)")
    }
    let failed = ScenarioPlayer().play(scenario, on: stage)
    if failed == nil || !stage.isStuck { try show(stage) }
    if let failed {
      throw Failure(
        "\(after):\(failed.line): step \(failed.number) did not come as expected", .doesNotHold)
    }
  }

  private func show(_ stage: Stage) throws {
    if let folder {
      do {
        try TableExport(stage.machine).write(stage.machine, to: folder)
      } catch {
        throw Failure(error.message)
      }
      return
    }
    var output = Output()
    var tree = TableTree(stage.machine)
    switch report.format {
    case .text: tree.appendText(of: stage.machine, to: &output.text)
    case .json: tree.appendJSON(of: stage.machine, to: &output.text)
    }
    try output.flush()
  }
}
