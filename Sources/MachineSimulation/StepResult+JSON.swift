import Reports

extension StepResult {
  /// What came, as a JSON object; addresses and words of memory as hexadecimal texts.
  public var json: String {
    var text = TextBuffer(capacity: 128)
    Expectation.Value.fields(fields).appendJSON(to: &text)
    return text.text
  }
}

extension Operation {
  /// The operation as a scenario writes it, in one line.
  public var text: String {
    guard case .interleave(let interleaving) = self else { return ScenarioWriter.text(of: self) }
    let counts = interleaving.together.map { "\($0.count)" }.joined(separator: " + ")
    return "interleave: \(counts) steps"
  }
}

extension Expectation.Value {
  fileprivate func appendJSON(to text: inout TextBuffer) {
    switch self {
    case .number(let number): text.appendQuotedHex(number)
    case .comparison(let comparison, let bound):
      text.appendQuoted("\(comparison.rawValue)\(bound)")
    case .flag(let flag): text.append(string: "\(flag)")
    case .word(let word): text.appendQuoted(word)
    case .numbers(let numbers):
      text.append("[")
      for (index, number) in numbers.enumerated() {
        if index > 0 { text.append(",") }
        text.appendQuotedHex(number)
      }
      text.append("]")
    case .lines(let lines):
      text.append("[")
      for (index, line) in lines.enumerated() {
        if index > 0 { text.append(",") }
        text.appendQuoted(line)
      }
      text.append("]")
    case .fields(let fields):
      text.append("{")
      for (index, field) in fields.enumerated() {
        if index > 0 { text.append(",") }
        text.appendQuoted(field.name)
        text.append(":")
        field.value.appendJSON(to: &text)
      }
      text.append("}")
    }
  }
}
