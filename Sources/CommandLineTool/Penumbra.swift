import ArgumentParser
import Glibc

/// The command `penumbra` and its verbs.
@main
struct Penumbra: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "penumbra",
    abstract: "KVM's x86 MMU as an ordinary program.",
    discussion: """
      Start with one of these:
        penumbra run
        penumbra compare
        penumbra translate --core guest.core 0xffffffff81000000
        penumbra map --core guest.core
        penumbra play Scenarios
        penumbra tables --after some.yaml
        penumbra verify

      Numbers are decimal or 0x hexadecimal, with KiB, MiB, GiB or TiB where a size helps.
      --format json writes one object a line on standard output and nothing else there.
      Exit status: 0 done; 1 what was checked does not hold; 2 bad usage or unreadable input; \
      3 a limit was reached.
      """,
    subcommands: verbs)

  private static var verbs: [any ParsableCommand.Type] {
    let verbs: [any ParsableCommand.Type] = [
      Run.self, Compare.self, Translate.self, Map.self, Play.self, Fuzz.self, Tables.self,
      Verify.self,
    ]
    #if MUTATIONS
      return verbs + [ListMutations.self]
    #else
      return verbs
    #endif
  }

  /// Runs the command and leaves with its status.
  static func main() {
    // A reader that went away is told by the write's own error.
    signal(SIGPIPE, SIG_IGN)
    Glibc.exit(run(Array(CommandLine.arguments.dropFirst())))
  }

  /// Runs the command on `arguments` and returns the exit status.
  private static func run(_ arguments: [String]) -> Int32 {
    do {
      var command = try parseAsRoot(arguments)
      try command.run()
      return 0
    } catch let failure as Failure {
      return failure.report()
    } catch {
      return report(error)
    }
  }

  /// Tells what the argument parser threw: help that was asked for, a status, or bad usage.
  private static func report(_ error: any Error) -> Int32 {
    let status = exitCode(for: error)
    if let code = error as? ExitCode { return code.rawValue }
    guard status != .success else {
      print(fullMessage(for: error))
      return 0
    }
    return Failure(message(for: error)).report()
  }
}
