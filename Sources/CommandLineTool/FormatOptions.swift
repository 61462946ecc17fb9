import ArgumentParser

/// How a verb writes its report.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  /// Words and columns for people.
  case text
  /// One JSON object a line.
  case json
}

/// The option that every verb has.
struct FormatOptions: ParsableArguments {
  @Option(name: .long, help: "How the report is written: text for people, json for programs.")
  var format = OutputFormat.text
}
