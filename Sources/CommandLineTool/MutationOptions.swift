#if MUTATIONS
  import ArgumentParser
  import Mutations
  import Reports

  /// Which bug is put back into the machine; the option exists under the trait `Mutations` alone.
  struct MutationOptions: ParsableArguments {
    @Option(
      help: ArgumentHelp(
        "Put a known bug back, by its name or its identifier in the catalogue.", valueName: "name"))
    var mutation: String?

    /// Puts the bug back, from here on.
    mutating func validate() throws {
      guard let mutation else { return }
      guard let found = Mutation.named(mutation) else {
        throw ValidationError("\(mutation) is no mutation; penumbra mutations lists them")
      }
      Mutation.active = found
    }
  }

  /// Lists the bugs that can be put back.
  struct ListMutations: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "mutations",
      abstract: """
        List the bugs that can be put back: identifier, name, place, what goes wrong, and why it \
        cannot be seen, if so.
        """,
      discussion: "Tab-separated, one line each, for Scripts/catch-mutations.")

    func run() throws {
      var output = Output()
      for exhibit in Exhibit.all {
        let identifier = exhibit.identifier.isEmpty ? "-" : exhibit.identifier
        output.text.append(
          string: "\(identifier)\t\(exhibit.name)\t\(exhibit.place)\t\(exhibit.sentence)"
            + "\t\(exhibit.equivalence ?? "-")\n")
      }
      try output.flush()
    }
  }
#endif
