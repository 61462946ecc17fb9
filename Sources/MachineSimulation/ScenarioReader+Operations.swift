import PagingUnits
import VirtualMachine
import Yams

/// The fields of each kind of step.
extension ScenarioReader {
  func readMemslot(_ body: Node) throws(ScenarioError) -> MemslotChange {
    let section = try self.section(
      body, "memslot",
      [
        "id", "gpa", "size", "flags", "backing", "address-space", "same-memory-as", "hva-offset",
      ])
    var change = MemslotChange(
      id: UInt16(try section.requiredNumber("id", 0...0xFFFF)),
      at: GuestPhysical(try section.number("gpa") ?? 0),
      byteCount: try section.requiredNumber("size"))
    for (word, node) in try section.words("flags", ["read-only", "log-dirty", "private"]) ?? [] {
      switch word {
      case "read-only": change.isReadOnly = true
      case "log-dirty": change.logsWrites = true
      default: throw notBuilt("flag private", node)
      }
    }
    change.backing = try section.choice("backing", as: SlotBacking.self) ?? .anonymous
    if try section.number("address-space", 0...1) == 1 { change.space = .systemManagement }
    if let id = try section.number("same-memory-as", 0...0xFFFF) { change.sharing = UInt16(id) }
    change.hostOffset = try section.number("hva-offset", 0...(1 << 30)) ?? 0
    return change
  }

  func readWrite(_ body: Node) throws(ScenarioError) -> Operation {
    let section = try self.section(body, "write", ["gpa", "u64", "u32", "bytes"])
    let address = GuestPhysical(try section.requiredNumber("gpa"))
    if let words = try section.numbers("u64", below: 64) {
      return .write(address, GuestBytes(words: words))
    }
    if let words = try section.numbers("u32", below: 32) {
      let bytes = words.flatMap { word in
        (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * UInt64($0))) }
      }
      return .write(address, GuestBytes(bytes, .words32(count: words.count)))
    }
    guard let text = try section.text("bytes"), let bytes = Self.bytes(text) else {
      throw section.problem(
        "bytes", section.node("bytes"), expected: "u64, u32, or bytes as hexadecimal digits")
    }
    return .write(address, GuestBytes(bytes, .bytes(count: bytes.count)))
  }

  /// Bytes from hexadecimal digits, two each, with spaces between them if wanted.
  static func bytes(_ text: String) -> [UInt8]? {
    let digits = text.utf8.filter { $0 != 0x20 }
    guard digits.count.isMultiple(of: 2), !digits.isEmpty else { return nil }
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in digits {
      guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
      if let first = high {
        bytes.append(first << 4 | UInt8(value))
        high = nil
      } else {
        high = UInt8(value)
      }
    }
    return bytes
  }

  /// A read has the shape of what it expects; 8 bytes without a word.
  func readRead(_ body: Node, _ expect: Node?) throws(ScenarioError) -> Operation {
    let section = try self.section(body, "read", ["gpa", "size"])
    let address = GuestPhysical(try section.requiredNumber("gpa"))
    if let size = try section.number("size", 1...65536) {
      return .read(address, .bytes(count: Int(size)))
    }
    var shape = GuestBytes.Shape.words64(count: 1)
    if let expect, case .mapping(let mapping) = expect {
      for (key, value) in mapping {
        let count = value.sequence?.count ?? 1
        switch key.scalar?.string {
        case "u64": shape = .words64(count: count)
        case "u32": shape = .words32(count: count)
        case "bytes":
          shape = .bytes(count: Self.bytes(value.scalar?.string ?? "")?.count ?? 1)
        default: break
        }
      }
    }
    return .read(address, shape)
  }

  func readRegisters(_ body: Node) throws(ScenarioError) -> RegisterChange {
    let section = try self.section(
      body, "registers",
      ["vcpu", "cr0", "cr2", "cr3", "cr4", "efer", "pkru", "pat", "cpl", "ac", "smm"])
    var change = RegisterChange(processor: try processor(section))
    change.cr0 = try section.number("cr0")
    change.cr2 = try section.number("cr2")
    change.cr3 = try section.number("cr3")
    change.cr4 = try section.number("cr4")
    change.efer = try section.number("efer")
    change.pkru = try section.number("pkru")
    change.pat = try section.number("pat")
    change.privilegeLevel = try section.number("cpl", 0...3).map { UInt8($0) }
    change.alignmentCheck = try section.flag("ac")
    change.space = try section.flag("smm").map { $0 ? .systemManagement : .normal }
    return change
  }

  func readAccess(_ body: Node, _ kind: String) throws(ScenarioError) -> AccessStep {
    let place = kind == "access" ? "gva" : "gpa"
    let section = try self.section(
      body, kind, ["vcpu", "kind", place, "size", "cpl", "implicit", "emulated", "value"])
    let raw = try section.requiredNumber(place)
    var step = AccessStep(
      at: place == "gva" ? .virtual(GuestVirtual(raw)) : .physical(GuestPhysical(raw)))
    step.processor = try processor(section)
    switch try section.word("kind", ["read", "write", "fetch"]) {
    case "write": step.kind = .write
    case "fetch": step.kind = .fetch
    default: break
    }
    step.byteCount = Int(try section.number("size", 1...4096) ?? 8)
    step.privilegeLevel = try section.number("cpl", 0...3).map { UInt8($0) }
    step.isImplicit = try section.flag("implicit") ?? false
    step.isEmulated = try section.flag("emulated") ?? false
    step.value = try section.number("value")
    return step
  }

  func readLoadCR3(_ body: Node) throws(ScenarioError) -> Operation {
    let section = try self.section(body, "load-cr3", ["vcpu", "value", "keep-translations"])
    return .loadCR3(
      processor: try processor(section), value: try section.requiredNumber("value"),
      keepsTranslations: try section.flag("keep-translations") ?? false)
  }

  /// `host: {migrate: {gpa, size}}`, or `host: {do: migrate, gpa, size}`; `kind` and `action` stand
  /// for `do` as well.
  func readHost(_ body: Node) throws(ScenarioError) -> Operation {
    let names = HostAction.allCases.map(\.rawValue)
    let spellings = ["do", "kind", "action"]
    let section = try self.section(body, "host", names + spellings + ["gpa", "size"])
    var fields = section
    var actions: [HostAction] = []
    for key in spellings {
      if let action = try section.choice(key, as: HostAction.self) { actions.append(action) }
    }
    for action in HostAction.allCases {
      guard let node = section.node(action.rawValue) else { continue }
      actions.append(action)
      if !node.isEmpty {
        fields = try SectionReader(
          node, "host: \(action.rawValue)", keys: ["gpa", "size"], in: file)
      }
    }
    guard let action = actions.first, actions.count == 1 else {
      throw section.problem("do", nil, expected: "exactly one of \(names.joined(separator: ", "))")
    }
    return .host(
      action, GuestPhysical(try fields.requiredNumber("gpa")),
      byteCount: try fields.number("size", 1...Self.hostRangeLimit) ?? 4096)
  }

  func readRefusal(_ body: Node) throws(ScenarioError) -> Refusal {
    if body.scalar?.string == "never" { return .never }
    let section = try self.section(body, "refuse", ["once", "from", "every"])
    if let number = try section.number("once", 1...UInt64.max) { return .once(number) }
    if let number = try section.number("from", 1...UInt64.max) { return .from(number) }
    if let number = try section.number("every", 1...UInt64.max) { return .every(number) }
    throw section.problem("every", nil, expected: "never, or one of once, from, every")
  }

  func readTableEntry(_ body: Node) throws(ScenarioError) -> Operation {
    let section = try self.section(
      body, "table-entry", ["root", "vcpu", "gpa", "gva", "level", "address-space"])
    let roots = ["direct", "shadow", "spp", "secure", "mirror"]
    let root = try section.word("root", roots) ?? machine.mmu.rawValue
    if let node = section.node("root"), root == "secure" || root == "mirror" {
      throw notBuilt("root: \(root)", node)
    }
    // A direct table has no linear addresses, and the shadow's are all that it has.
    for (key, other) in [("gpa", "shadow"), ("gva", "direct"), ("gva", "spp")]
    where root == other {
      if let node = section.node(key) {
        throw section.problem(
          key, node, expected: "\(key == "gpa" ? "gva" : "gpa") with root: \(root)")
      }
    }
    if root == "shadow" {
      return .shadowEntry(
        processor: try processor(section), GuestVirtual(try section.requiredNumber("gva")),
        try section.number("level", 1...5).map { Level(Int($0)) })
    }
    let space: AddressSpace =
      try section.number("address-space", 0...1) == 1 ? .systemManagement : .normal
    let address = GuestPhysical(try section.requiredNumber("gpa"))
    let level = try section.number("level", 1...5).map { Level(Int($0)) }
    return root == "spp"
      ? .subpageEntry(address, level, space) : .tableEntry(address, level, space)
  }
}
