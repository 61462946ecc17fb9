import MachineChecks
import PagingUnits

/// A result as values by name, the way scenarios write it.
extension StepResult {
  /// What came, by the names that an expectation has.
  public var fields: [Expectation.Field] {
    switch self {
    case .done: [.init("ok", .flag(true))]
    case .error(let name): [.init("error", .word(name))]
    case .exception(let name): [.init("exception", .word(name))]
    case .reached(let memory):
      [
        .init("gpa", .number(memory.guestPhysical.raw)),
        .init("hpa", .number(memory.hostPhysical.raw)),
        .init("page-size", .number(memory.pageBytes)), .init("value", .number(memory.value)),
      ]
    case .pageFault(let errorCode, let address):
      [
        .init(
          "page-fault",
          .fields([
            .init("error-code", .number(UInt64(errorCode))),
            .init("address", .number(address.raw)),
          ]))
      ]
    case .exit(let kind, let address, let value):
      [.init("exit", .word(kind.rawValue)), .init("gpa", .number(address.raw))]
        + (value.map { [.init("value", .number($0))] } ?? [])
    case .bytes(let bytes): [.init(bytes.shape.name, .numbers(bytes.numbers))]
    case .young(let isYoung): [.init("young", .flag(isYoung))]
    case .counters(let counters):
      counters.sorted { $0.key < $1.key }.map {
        .init($0.key, .number(UInt64(bitPattern: $0.value)))
      }
    case .tracepoints(let lines): [.init("lines", .lines(lines))]
    case .entry(let entry): entry.fields
    case .subpageEntry(let entry): entry.fields
    case .permissions(let words): [.init("access", .numbers(words.map { UInt64($0) }))]
    case .kept(let isKept): [.init("present", .flag(isKept))]
    case .interleaved: [.init("ok", .flag(true))]
    case .violation(let violation): [.init("violation", .word(violation.description))]
    }
  }

  /// Whether the step did what it says, without a refusal, a fault, an exit or a violation.
  public var isSuccess: Bool {
    switch self {
    case .done, .reached, .bytes, .young, .counters, .tracepoints, .entry, .kept, .interleaved,
      .subpageEntry, .permissions:
      true
    case .error, .exception, .pageFault, .exit, .violation: false
    }
  }

  /// Whether no lawful machine comes to this, whatever was expected.
  public var isUnlawful: Bool {
    switch self {
    case .violation, .exit(.stuck, _, _): true
    default: false
    }
  }
}

extension GuestBytes.Shape {
  /// The name of the shape in a scenario.
  var name: String {
    switch self {
    case .words64: "u64"
    case .words32: "u32"
    case .bytes: "bytes"
    }
  }
}

extension GuestBytes {
  /// The bytes as the numbers that they were written down as.
  public var numbers: [UInt64] {
    let width: Int
    switch shape {
    case .words64: width = 8
    case .words32: width = 4
    case .bytes: width = 1
    }
    return stride(from: 0, to: bytes.count, by: width).map { start in
      bytes[start..<min(start + width, bytes.count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }
  }
}

extension EntryView {
  fileprivate var fields: [Expectation.Field] {
    [
      .init("present", .flag(isPresent)), .init("leaf", .flag(isLeaf)),
      .init("writable", .flag(isWritable)), .init("user", .flag(isUser)),
      .init("executable", .flag(isExecutable)), .init("accessed", .flag(isAccessed)),
      .init("dirty", .flag(isDirty)), .init("frame", .number(frame.number)),
      .init("level", .number(UInt64(level.depth))), .init("u64", .number(raw)),
      .init("spp", .flag(isArmed)), .init("spp-saved", .flag(isParked)),
    ]
  }
}

extension SubpageEntryView {
  fileprivate var fields: [Expectation.Field] {
    let common: [Expectation.Field] = [
      .init("level", .number(UInt64(level.depth))), .init("u64", .number(raw)),
      .init("leaf", .flag(level == .page4K)),
    ]
    // At level 1 no bit says whether the entry is there.
    if level == .page4K { return common + [.init("access", .numbers([UInt64(access)]))] }
    return common + [
      .init("present", .flag(raw & 1 == 1)), .init("frame", .number(raw >> 12)),
    ]
  }
}
