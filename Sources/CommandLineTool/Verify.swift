import ArgumentParser
import MachineChecks
import Reports

/// Compares the MMU's guest walk with the hardware model.
struct Verify: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Compare the MMU's rules with the hardware model's, case by case.",
    discussion: """
      Goes through whole spaces of cases: the entries of a mapping, the control bits, protection \
      keys, kinds of access, privileges and classes of MAXPHYADDR; under spp the tables of \
      sub-page write permissions. Compared are the outcome, the error code, the address, what \
      else is permitted, and the accessed and dirty bits afterwards. Prints for each format the \
      number of cases, the time in seconds, and the first disagreement explained. Exit status 1 \
      when there is one.

        penumbra verify
        penumbra verify --only 4-level --break smep
        penumbra verify --only spp --break spp-odd-bits

      Made for the release build (swift run -c release penumbra verify).
      """)

  @Option(
    help: ArgumentHelp(
      "Only this format: \(Choice<VerificationFormat>.names).",
      discussion: "Default: all, one after another.", valueName: "format"),
    transform: Choice<VerificationFormat>.parse)
  var only: VerificationFormat?

  @Option(
    name: .customLong("break"),
    help: ArgumentHelp(
      "Spoil one rule of the MMU, to see that it is noticed.",
      discussion: """
        Rules: \(Choice<BrokenRule>.names). Without --only, the formats that have it.
        """, valueName: "rule"),
    transform: Choice<BrokenRule>.parse)
  var brokenRule: BrokenRule?

  @Option(help: ArgumentHelp("The number of threads, 1 to 256.", valueName: "n"))
  var threads = 2

  @OptionGroup(title: "Report") var report: FormatOptions

  func validate() throws {
    guard 1...256 ~= threads else {
      throw ValidationError("--threads \(threads): 1 to 256 were expected")
    }
    if let only, let brokenRule, !brokenRule.formats.contains(only) {
      throw ValidationError(
        "--break \(brokenRule.rawValue): \(only.rawValue) has no such rule, but "
          + brokenRule.formats.map(\.rawValue).joined(separator: ", "))
    }
  }

  func run() throws {
    var verification = Verification()
    verification.brokenRule = brokenRule
    verification.threads = threads
    let formats = only.map { [$0] } ?? brokenRule?.formats ?? VerificationFormat.allCases
    var output = Output()
    var disagreements = 0
    for format in formats {
      let result = verification.run(format)
      switch report.format {
      case .text: write(result, to: &output.text)
      case .json: writeJSON(result, to: &output.text)
      }
      try output.flush()
      if result.disagreement != nil { disagreements += 1 }
    }
    guard disagreements == 0 else {
      throw Failure(
        "the MMU and the hardware model disagree on \(disagreements) of "
          + "\(formats.count) formats", .doesNotHold)
    }
  }

  private func write(_ result: Verification.Report, to text: inout TextBuffer) {
    let verdict = result.disagreement == nil ? "agree" : "DISAGREE"
    let name =
      result.format.rawValue + String(repeating: " ", count: 8 - result.format.rawValue.count)
    let cases = String(result.cases)
    let space = String(repeating: " ", count: max(0, 12 - cases.count))
    text.append(string: "\(name)\(space)\(cases) cases  \(seconds(result)) s  \(verdict)\n")
    guard let disagreement = result.disagreement else { return }
    text.append(string: "  rule: \(disagreement.rule.rawValue)\n")
    text.append(string: "  part: \(disagreement.sweep), setting \(disagreement.place.setting)")
    text.append(string: ", case \(disagreement.place.instance)\n")
    for line in disagreement.explanation { text.append(string: "  \(line)\n") }
  }

  private func writeJSON(_ result: Verification.Report, to text: inout TextBuffer) {
    text.append(string: "{\"format\":\"\(result.format.rawValue)\",\"cases\":\(result.cases)")
    text.append(string: ",\"seconds\":\(seconds(result)),\"agree\":\(result.disagreement == nil)")
    if let disagreement = result.disagreement {
      text.append(",\"rule\":")
      text.appendQuoted(disagreement.rule.rawValue)
      text.append(",\"part\":")
      text.appendQuoted(disagreement.sweep)
      text.append(string: ",\"setting\":\(disagreement.place.setting)")
      text.append(string: ",\"case\":\(disagreement.place.instance),\"explanation\":[")
      for (index, line) in disagreement.explanation.enumerated() {
        if index > 0 { text.append(",") }
        text.appendQuoted(line)
      }
      text.append("]")
    }
    text.append("}\n")
  }

  /// The time with two decimals.
  private func seconds(_ result: Verification.Report) -> String {
    let hundredths = UInt64(result.seconds * 100)
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }
}

/// One of the named values of a list, as the command line has them.
private enum Choice<Value: CaseIterable & RawRepresentable<String>> {
  /// Every name, separated by commas.
  static var names: String { Value.allCases.map(\.rawValue).joined(separator: ", ") }

  /// The value of a name; throws a sentence that lists the names.
  static func parse(_ text: String) throws -> Value {
    guard let value = Value(rawValue: text) else {
      throw ValidationError("one of \(names) was expected")
    }
    return value
  }
}
