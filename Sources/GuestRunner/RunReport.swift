public import GuestProcessor
public import MachineEvents
public import PagingUnits

/// Why a run ended.
public enum RunEnding: Hashable, Sendable {
  /// HLT with interrupts off.
  case halted
  /// The guest wrote to the exit port.
  case guestExit(value: UInt32)
  /// An exception could not be delivered; the last one.
  case tripleFault(GuestEvent)
  /// The time was up.
  case timeout
  /// The exits were up.
  case exitLimit
  /// HLT with interrupts on and nothing that could wake the guest: it would wait for ever.
  case waitingForever
  /// Something that must hold of the machine did not, under `Checks.everyExit`.
  case violation(String)
  /// The guest did what the processor does not do.
  case unsupported(String)
  /// The guest wrote to protected memory, and that was to end the run.
  case protectedWrite
  /// The host could not serve the guest.
  case hostFailure(String)
}

/// How a run ended and what it cost.
public struct RunReport: Sendable {
  /// Why the run ended.
  public var ending: RunEnding
  /// The registers at the end.
  public var state: ProcessorState
  /// The last exits, oldest first.
  public var recentExits: [RecentExit]
  /// The names of the guest's functions.
  public var symbols: SymbolTable
  /// RIP, RSP and CR2, translated.
  public var explanations: [AddressExplanation]

  /// What was written to protected memory and beside it.
  public var protection = MemoryProtection()

  /// KVM's counters of the machine, by their names.
  public var machineCounters: [(MachineCounter, Int64)]
  /// KVM's counters of the processor, by their names.
  public var processorCounters: [(ProcessorCounter, Int64)]
  /// Host memory in tables, in bytes, those set aside for the next fault included.
  public var tableBytes: UInt64
  /// How many tables are in use.
  public var liveTables: Int
  /// What the guest asked of its own paging.
  public var operations: PagingOperations
  /// TLB misses of the processor that came to the machine.
  public var fills: UInt64
  /// Exceptions and interrupts delivered.
  public var deliveredEvents: UInt64
  /// Entries of the guest's tables that the hardware read.
  public var guestReferences: UInt64
  /// Entries of the second dimension that the hardware read.
  public var secondReferences: UInt64
  /// Walks of the hardware.
  public var walks: UInt64
  /// Bytes of guest output.
  public var outputBytes: UInt64
  /// Seconds of wall-clock time.
  public var seconds: Double

  /// The exit status of `penumbra run`.
  public var status: Int32 {
    switch ending {
    case .halted: 0
    case .protectedWrite: 116
    case .violation: 118
    case .guestExit(let value): Int32(truncatingIfNeeded: (value & 0x7F) << 1 | 1)
    case .tripleFault, .unsupported, .hostFailure: 120
    case .timeout, .exitLimit, .waitingForever: 122
    }
  }

  /// One line that says why the run ended.
  public var summary: String {
    switch ending {
    case .halted: "the guest halted with interrupts off"
    case .guestExit(let value): "the guest wrote \(value) to the exit port"
    case .tripleFault(let event): "triple fault: \(event.words) could not be delivered"
    case .timeout: "the time limit was reached"
    case .exitLimit: "the limit of exits was reached"
    case .waitingForever: "the guest halted with interrupts on and nothing can wake it"
    case .unsupported(let what): "the guest used what the processor does not do: \(what)"
    case .violation(let what): "a check failed: \(what)"
    case .protectedWrite: "the guest was about to write to protected memory"
    case .hostFailure(let what): what
    }
  }

  /// The dump without the names of functions.
  public var dumpWithoutSymbols: [String] {
    var copy = self
    copy.symbols = SymbolTable()
    return copy.dump
  }

  /// The registers, the last exits and the explained addresses, line by line.
  public var dump: [String] {
    var lines = state.lines
    if let name = symbols.name(of: state.rip) { lines.append("RIP is in \(name)") }
    lines.append("last exits, oldest first:")
    lines += recentExits.map { "  " + $0.line(symbols) }
    lines += explanations.map(\.line)
    return lines
  }
}

/// Where a linear address leads at the end of a run.
public struct AddressExplanation: Hashable, Sendable {
  /// The register that holds it.
  public var register: String
  /// The address.
  public var address: GuestVirtual
  /// What a supervisor's read of it meets, in words.
  public var outcome: String

  var line: String { "\(register) \(hex(address.raw)): \(outcome)" }
}

extension GuestEvent {
  /// The event in a few words.
  var words: String {
    var text = "vector \(vector)"
    if let name = Self.names[vector] { text = "\(name) (\(text))" }
    if let errorCode { text += ", error code \(hex(UInt64(errorCode)))" }
    if let address { text += ", address \(hex(address.raw))" }
    return text
  }

  private static let names: [UInt8: String] = [
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF",
    10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 19: "#XM",
  ]
}

extension RecentExit {
  fileprivate func line(_ symbols: SymbolTable) -> String {
    switch self {
    case .memory(let rip, let address, let kind):
      at(rip, symbols) + "\(kind) of \(hex(address.raw)) left the guest"
    case .delivered(let rip, let event): at(rip, symbols) + "delivered \(event.words)"
    case .port(let rip, let port, .input, let value):
      at(rip, symbols) + "read \(hex(UInt64(value))) from port \(hex(UInt64(port)))"
    case .port(let rip, let port, .output, let value):
      at(rip, symbols) + "wrote \(hex(UInt64(value))) to port \(hex(UInt64(port)))"
    case .device(let rip, let address, .input, let value):
      at(rip, symbols) + "read \(hex(value)) from device \(hex(address.raw))"
    case .device(let rip, let address, .output, let value):
      at(rip, symbols) + "wrote \(hex(value)) to device \(hex(address.raw))"
    case .control(let rip, let new):
      at(rip, symbols)
        + "CR0 \(hex(new.cr0)) CR3 \(hex(new.cr3)) CR4 \(hex(new.cr4)) EFER \(hex(new.efer))"
    }
  }

  private func at(_ rip: UInt64, _ symbols: SymbolTable) -> String {
    let name = symbols.name(of: rip).map { " <\($0)>" } ?? ""
    return "\(hex(rip))\(name): "
  }
}

extension ProcessorState {
  fileprivate var lines: [String] {
    let names = [
      "RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12",
      "R13", "R14", "R15",
    ]
    var lines: [String] = []
    for start in stride(from: 0, to: 16, by: 4) {
      lines.append(
        (start..<start + 4).map { "\(names[$0])=\(padded(general[$0]))" }.joined(separator: " "))
    }
    lines.append("RIP=\(padded(rip)) RFLAGS=\(padded(flags)) CPL=\(controls.cpl)")
    let selectors = zip(["CS", "SS", "DS", "ES", "FS", "GS"], segments)
    lines.append(selectors.map { "\($0)=\(hex(UInt64($1)))" }.joined(separator: " "))
    lines.append(
      "CR0=\(hex(controls.cr0)) CR2=\(hex(controls.cr2)) CR3=\(hex(controls.cr3)) "
        + "CR4=\(hex(controls.cr4)) EFER=\(hex(controls.efer)) PKRU=\(hex(UInt64(controls.pkru)))")
    lines.append(
      "GDT=\(hex(gdt.base))+\(hex(UInt64(gdt.limit))) "
        + "IDT=\(hex(idt.base))+\(hex(UInt64(idt.limit)))")
    return lines
  }

  private func padded(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
