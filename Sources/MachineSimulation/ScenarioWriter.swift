import PagingUnits
import SubpageProtection
import VirtualMachine

/// Writes scenarios as files that `ScenarioReader` reads back to the same values.
public enum ScenarioWriter {
  /// The text of a file.
  ///
  /// * `comment`: lines that stand before the scenario, as comments.
  public static func text(of scenario: Scenario, comment: [String] = []) -> String {
    var lines = comment.map { "# \($0.replacing("\n", with: " "))" }
    lines.append("name: \(quoted(scenario.name))")
    let machine = self.machine(scenario.machine)
    if !machine.isEmpty { lines += ["machine:"] + machine.map { "  \($0)" } }
    let virtual = virtualMachine(scenario.machine)
    if !virtual.isEmpty { lines += ["vm:"] + virtual.map { "  \($0)" } }
    lines.append(scenario.steps.isEmpty ? "steps: []" : "steps:")
    for step in scenario.steps { lines += self.lines(of: step).map { "  \($0)" } }
    return lines.joined(separator: "\n") + "\n"
  }

  /// Text between quotes, with what would end them escaped.
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\x" + String(repeating: "0", count: 2 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  private static func machine(_ machine: ScenarioMachine) -> [String] {
    let standard = ScenarioMachine()
    var lines: [String] = []
    if machine.vendor != standard.vendor { lines.append("vendor: \(machine.vendor.rawValue)") }
    if machine.physicalBits != standard.physicalBits {
      lines.append("phys-bits: \(machine.physicalBits)")
    }
    if machine.guestPhysicalBits != machine.physicalBits {
      lines.append("guest-phys-bits: \(machine.guestPhysicalBits)")
    }
    if let bit = machine.encryptionBit { lines.append("encryption-bit: \(bit)") }
    if machine.hostBytes != standard.hostBytes { lines.append("host-memory: \(machine.hostBytes)") }
    if machine.rootLevel == .level5 { lines.append("levels: 5") }
    if machine.features != standard.features {
      let names = ScenarioFeatures.names.filter { machine.features.contains($0.feature) }
      lines.append("features: [\(names.map(\.name).joined(separator: ", "))]")
    }
    if machine.largestPage == .page4K { lines.append("largest-page: 4k") }
    if machine.largestPage == .page2M { lines.append("largest-page: 2m") }
    if machine.prefetch == .present { lines.append("prefetch: true") }
    if machine.translationSets != standard.translationSets {
      lines.append("tlb-sets: \(machine.translationSets)")
    }
    if let seed = machine.mischief { lines.append("mischief: \(hex(seed))") }
    return lines
  }

  private static func virtualMachine(_ machine: ScenarioMachine) -> [String] {
    let standard = ScenarioMachine()
    var lines: [String] = []
    if machine.mmu != standard.mmu { lines.append("mmu: \(machine.mmu.rawValue)") }
    if machine.specialRoots != standard.specialRoots {
      lines.append("special-roots: \(machine.specialRoots.rawValue)")
    }
    if let limit = machine.shadowPageLimit { lines.append("shadow-pages: \(limit)") }
    if !machine.subpageQuirks.isEmpty {
      let names = SubpageQuirks.named.filter { machine.subpageQuirks.contains($0.quirk) }
      lines.append("quirks: [\(names.map(\.name).joined(separator: ", "))]")
    }
    if machine.processors != 1 { lines.append("vcpus: \(machine.processors)") }
    return lines
  }

  // MARK: Steps

  private static func lines(of step: Step) -> [String] {
    var lines: [String]
    if case .interleave(let interleaving) = step.operation {
      lines = self.lines(of: interleaving)
    } else {
      lines = ["- \(text(of: step.operation))"]
    }
    if let expectation = text(of: step.expectation) { lines.append("  expect: \(expectation)") }
    return lines
  }

  private static func lines(of interleaving: Interleaving) -> [String] {
    var lines = ["- interleave:"]
    switch interleaving.order {
    case .seed(let seed): lines.append("    seed: \(hex(seed))")
    case .schedule(let schedule):
      lines.append("    schedule: [\(schedule.map(String.init).joined(separator: ", "))]")
    }
    lines.append("    together:")
    for sequence in interleaving.together {
      guard !sequence.isEmpty else {
        lines.append("      - []")
        continue
      }
      for (index, line) in sequence.flatMap({ self.lines(of: $0) }).enumerated() {
        lines.append((index == 0 ? "      - " : "        ") + line)
      }
    }
    return lines
  }

  /// One operation as a key and its fields, in one line.
  static func text(of operation: Operation) -> String {
    switch operation {
    case .memslot(let change): "memslot: \(fields(memslot(change)))"
    case .write(let address, let bytes):
      "write: \(fields([("gpa", hex(address.raw)), (bytes.shape.name, text(of: bytes))]))"
    case .read(let address, let shape):
      "read: \(fields([("gpa", hex(address.raw))] + size(shape)))"
    case .registers(let change): "registers: \(fields(registers(change)))"
    case .access(let step): access(step)
    case .loadCR3(let processor, let value, let keepsTranslations):
      "load-cr3: "
        + fields(
          vcpu(processor) + [("value", hex(value))]
            + (keepsTranslations ? [("keep-translations", "true")] : []))
    case .invalidatePage(let processor, let address):
      "invlpg: \(fields(vcpu(processor) + [("gva", hex(address.raw))]))"
    case .invalidateContext(let processor, let type, let pcid, let address):
      "invpcid: "
        + fields(
          vcpu(processor) + [
            ("type", "\(type)"), ("pcid", "\(pcid)"), ("gva", hex(address.raw)),
          ])
    case .host(let action, let address, let byteCount):
      "host: {\(action.rawValue): "
        + fields([("gpa", hex(address.raw)), ("size", hex(byteCount))]) + "}"
    case .zapAll: "zap-all: {}"
    case .trim(let count): "trim: \(count)"
    case .evict(let processor): "evict: \(fields(vcpu(processor)))"
    case .refuse(let refusal): "refuse: \(text(of: refusal))"
    case .counters(let processor): "counters: \(fields(vcpu(processor)))"
    case .tracepoints: "tracepoints: {}"
    case .tableEntry(let address, let level, let space):
      "table-entry: "
        + fields(
          [("root", "direct"), ("gpa", hex(address.raw))]
            + (level.map { [("level", "\($0.depth)")] } ?? [])
            + (space == .normal ? [] : [("address-space", "1")]))
    case .shadowEntry(let processor, let address, let level):
      "table-entry: "
        + fields(
          [("root", "shadow")] + vcpu(processor) + [("gva", hex(address.raw))]
            + (level.map { [("level", "\($0.depth)")] } ?? []))
    case .subpageEntry(let address, let level, let space):
      "table-entry: "
        + fields(
          [("root", "spp"), ("gpa", hex(address.raw))]
            + (level.map { [("level", "\($0.depth)")] } ?? [])
            + (space == .normal ? [] : [("address-space", "1")]))
    case .subpage(let step): "subpage: \(fields(subpage(step)))"
    case .processorTLB(let processor, let address):
      "processor-tlb: \(fields(vcpu(processor) + [("gva", hex(address.raw))]))"
    case .check: "check: {}"
    case .interleave: "interleave: {}"
    }
  }

  private static func hex(_ number: UInt64) -> String {
    number < 10 ? "\(number)" : "0x" + String(number, radix: 16)
  }

  private static func fields(_ fields: [(String, String)]) -> String {
    "{" + fields.map { "\($0.0): \($0.1)" }.joined(separator: ", ") + "}"
  }

  private static func vcpu(_ number: Int) -> [(String, String)] {
    number == 0 ? [] : [("vcpu", "\(number)")]
  }

  private static func subpage(_ step: SubpageStep) -> [(String, String)] {
    var fields: [(String, String)] = []
    switch step.request {
    case .enable: return [("enable", "true")]
    case .get(let count):
      fields = [("gpa", hex(step.address.raw)), ("count", "\(count)"), ("get", "true")]
    case .set(let words):
      let isUniform = words.count > 1 && words.allSatisfy { $0 == words[0] }
      let shown = isUniform ? [words[0]] : words
      fields = [("gpa", hex(step.address.raw))]
      if isUniform || words.isEmpty { fields.append(("count", "\(words.count)")) }
      fields.append(("access", "[\(shown.map { hex(UInt64($0)) }.joined(separator: ", "))]"))
    }
    if step.space != .normal { fields.append(("address-space", "1")) }
    if step.flags != 0 { fields.append(("flags", hex(UInt64(step.flags)))) }
    return fields
  }

  private static func size(_ shape: GuestBytes.Shape) -> [(String, String)] {
    if case .bytes(let count) = shape { return [("size", "\(count)")] }
    return []
  }

  private static func text(of bytes: GuestBytes) -> String {
    if case .bytes = bytes.shape {
      return "\""
        + bytes.bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }
        .joined() + "\""
    }
    return "[" + bytes.numbers.map(hex).joined(separator: ", ") + "]"
  }

  private static func text(of refusal: Refusal) -> String {
    switch refusal {
    case .never: "never"
    case .once(let number): "{once: \(number)}"
    case .from(let number): "{from: \(number)}"
    case .every(let number): "{every: \(number)}"
    }
  }

  private static func memslot(_ change: MemslotChange) -> [(String, String)] {
    var fields = [
      ("id", "\(change.id)"), ("gpa", hex(change.address.raw)), ("size", hex(change.byteCount)),
    ]
    let flags = (change.isReadOnly ? ["read-only"] : []) + (change.logsWrites ? ["log-dirty"] : [])
    if !flags.isEmpty { fields.append(("flags", "[\(flags.joined(separator: ", "))]")) }
    if change.backing != .anonymous { fields.append(("backing", change.backing.rawValue)) }
    if change.space != .normal { fields.append(("address-space", "1")) }
    if let id = change.sharing { fields.append(("same-memory-as", "\(id)")) }
    if change.hostOffset != 0 { fields.append(("hva-offset", hex(change.hostOffset))) }
    return fields
  }

  private static func registers(_ change: RegisterChange) -> [(String, String)] {
    let words = [
      ("cr0", change.cr0), ("cr2", change.cr2), ("cr3", change.cr3), ("cr4", change.cr4),
      ("efer", change.efer), ("pkru", change.pkru), ("pat", change.pat),
    ]
    var fields = vcpu(change.processor)
    fields += words.compactMap { name, value in value.map { (name, hex($0)) } }
    if let level = change.privilegeLevel { fields.append(("cpl", "\(level)")) }
    if let isSet = change.alignmentCheck { fields.append(("ac", "\(isSet)")) }
    if let space = change.space { fields.append(("smm", "\(space == .systemManagement)")) }
    return fields
  }

  private static func access(_ step: AccessStep) -> String {
    var fields = vcpu(step.processor)
    let isVirtual: Bool
    if case .virtual = step.address { isVirtual = true } else { isVirtual = false }
    fields += [
      ("kind", step.kind == .read ? "read" : step.kind == .write ? "write" : "fetch"),
      (isVirtual ? "gva" : "gpa", hex(step.address.raw)),
    ]
    if step.byteCount != 8 { fields.append(("size", "\(step.byteCount)")) }
    if let level = step.privilegeLevel { fields.append(("cpl", "\(level)")) }
    if step.isImplicit { fields.append(("implicit", "true")) }
    if step.isEmulated { fields.append(("emulated", "true")) }
    if let value = step.value { fields.append(("value", hex(value))) }
    return (isVirtual ? "access: " : "guest-physical-access: ") + self.fields(fields)
  }

  /// An expectation as a scenario writes it; `nil` for none.
  private static func text(of expectation: Expectation) -> String? {
    if expectation.isAnything { return nil }
    if expectation == .ok { return "ok" }
    if case .lines(let lines)? = expectation.fields.first?.value {
      return "[" + lines.map(quoted).joined(separator: ", ") + "]"
    }
    return fields(expectation.fields.map { ($0.name, text(of: $0)) })
  }

  private static func text(of field: Expectation.Field) -> String {
    switch field.value {
    case .numbers(let numbers) where field.name == "bytes":
      "\""
        + numbers.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined() + "\""
    case .word(let word) where field.name == "violation": quoted(word)
    case .fields(let parts): fields(parts.map { ($0.name, text(of: $0)) })
    default: field.value.text
    }
  }
}
