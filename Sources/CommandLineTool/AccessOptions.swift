import ArgumentParser
import PagingUnits

/// One kind of access, as a walk needs to know it.
struct Access {
  let kind: AccessKind
  let privilege: Privilege
  /// Whether EFLAGS.AC exempts the access from SMAP.
  let isExemptFromSMAP: Bool
}

/// What an access does, as the command line says it.
enum AccessKindName: String, ExpressibleByArgument, CaseIterable {
  case read
  case write
  case fetch

  var kind: AccessKind {
    switch self {
    case .read: .read
    case .write: .write
    case .fetch: .fetch
    }
  }
}

/// Which access a translation is for.
struct AccessOptions: ParsableArguments {
  @Option(help: "What the access does.")
  var kind = AccessKindName.read

  @Option(
    help: ArgumentHelp(
      "On whose behalf: 0 the supervisor, 3 a user.",
      discussion: "Default: a supervisor with EFLAGS.AC set, whom SMAP does not stop.",
      valueName: "0|3"))
  var cpl: Int?

  @Flag(help: "EFLAGS.AC is set: SMAP does not stop the supervisor's reads and writes.")
  var ac = false

  func validate() throws {
    if let cpl, cpl != 0, cpl != 3 {
      throw ValidationError("--cpl \(cpl): 0 or 3 was expected")
    }
  }

  /// The access.
  var access: Access {
    Access(
      kind: kind.kind, privilege: cpl == 3 ? .user : .supervisor,
      isExemptFromSMAP: ac || cpl == nil)
  }
}
