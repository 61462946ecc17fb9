/// The local APIC of the one processor (SDM volume 3A, "Advanced Programmable Interrupt
/// Controller").
///
/// Interrupts that it can raise: its timer, and interprocessor interrupts to itself. Everything is
/// a function of the guest's accesses and of virtual time, so runs repeat.
struct LocalInterruptController {
  static let base: UInt64 = 0xFEE0_0000
  static let byteCount: UInt64 = 0x1000

  /// What an access asks of the processor.
  enum Effect: Hashable {
    case none
    /// A vector waits.
    case interrupt
    /// The timer was set or stopped.
    case timer
  }

  private enum Offset {
    static let identity: UInt64 = 0x20, version: UInt64 = 0x30, taskPriority: UInt64 = 0x80
    static let processorPriority: UInt64 = 0xA0, endOfInterrupt: UInt64 = 0xB0
    static let logicalDestination: UInt64 = 0xD0, destinationFormat: UInt64 = 0xE0
    static let spurious: UInt64 = 0xF0, inService: UInt64 = 0x100, requested: UInt64 = 0x200
    static let errorStatus: UInt64 = 0x280
    static let command: UInt64 = 0x300, commandHigh: UInt64 = 0x310
    static let timer: UInt64 = 0x320, initialCount: UInt64 = 0x380, currentCount: UInt64 = 0x390
    static let divide: UInt64 = 0x3E0
  }

  /// The sixteen bytes apart registers that only remember what was written.
  private var plain: [UInt64: UInt32] = [
    Offset.identity: 0, Offset.destinationFormat: .max, Offset.spurious: 0xFF,
    Offset.timer: 1 << 16, 0x330: 1 << 16, 0x340: 1 << 16, 0x350: 1 << 16, 0x360: 1 << 16,
    0x370: 1 << 16,
  ]
  private var requested = VectorSet()
  private var inService = VectorSet()
  private var initialCount: UInt32 = 0
  private var timerStart: UInt64 = 0
  /// When the timer fires next, in virtual time; `nil` when it does not.
  private(set) var deadline: UInt64?

  /// Timer ticks for each unit of virtual time, before division.
  private static let rate: UInt64 = 16

  private var divider: UInt64 {
    let bits = plain[Offset.divide] ?? 0
    let code = bits & 3 | (bits >> 1) & 4
    return code == 7 ? 1 : 2 << UInt64(code)
  }

  private var timerVector: UInt32 { plain[Offset.timer] ?? 0 }
  private var isEnabled: Bool { (plain[Offset.spurious] ?? 0) & 0x100 != 0 }

  private var priority: UInt8 {
    let task = UInt8(truncatingIfNeeded: plain[Offset.taskPriority] ?? 0)
    let service = (inService.highest ?? 0) & 0xF0
    return task >> 4 >= service >> 4 ? task : service
  }

  /// Reads a register at its offset, `now` being virtual time.
  func read(_ offset: UInt64, now: UInt64) -> UInt32 {
    let register = offset & ~0xF
    switch register {
    // Version 14h with six local vectors.
    case Offset.version: return 0x0005_0014
    case Offset.processorPriority: return UInt32(priority)
    case Offset.inService..<Offset.inService + 0x80: return inService.word(register >> 4 & 7)
    case Offset.requested..<Offset.requested + 0x80: return requested.word(register >> 4 & 7)
    case Offset.initialCount: return initialCount
    case Offset.currentCount: return currentCount(now)
    default: return plain[register] ?? 0
    }
  }

  private func currentCount(_ now: UInt64) -> UInt32 {
    guard let deadline, deadline > now else { return 0 }
    return UInt32(clamping: (deadline - now) * Self.rate / divider)
  }

  /// Writes a register.
  mutating func write(_ offset: UInt64, _ value: UInt32, now: UInt64) -> Effect {
    let register = offset & ~0xF
    switch register {
    case Offset.version, Offset.processorPriority, Offset.currentCount: return .none
    case Offset.endOfInterrupt:
      if let vector = inService.highest { inService.remove(vector) }
      return pendingVector == nil ? .none : .interrupt
    case Offset.taskPriority:
      plain[register] = value & 0xFF
      return pendingVector == nil ? .none : .interrupt
    case Offset.command:
      plain[register] = value & ~(1 << 12)
      return command(value)
    case Offset.initialCount:
      initialCount = value
      timerStart = now
      arm(from: now)
      return .timer
    case Offset.timer, Offset.divide:
      plain[register] = value
      if deadline != nil { arm(from: now) }
      return .timer
    case Offset.spurious:
      plain[register] = value
      return pendingVector == nil ? .none : .interrupt
    default:
      plain[register] = value
      return .none
    }
  }

  /// CR8: the upper half of the task priority register.
  var taskPriority: UInt8 { UInt8(truncatingIfNeeded: plain[Offset.taskPriority] ?? 0) >> 4 }

  /// Writes CR8.
  mutating func setTaskPriority(_ value: UInt8, now: UInt64) -> Effect {
    write(Offset.taskPriority, UInt32(value) << 4, now: now)
  }

  private mutating func arm(from now: UInt64) {
    guard initialCount != 0 else {
      deadline = nil
      return
    }
    let (ticks, overflow) = UInt64(initialCount).multipliedReportingOverflow(by: divider)
    deadline = overflow ? nil : now + max(1, ticks / Self.rate)
  }

  /// An interprocessor interrupt: only those to oneself arrive.
  private mutating func command(_ value: UInt32) -> Effect {
    let destination = (plain[Offset.commandHigh] ?? 0) >> 24
    let reachesSelf: Bool
    switch value >> 18 & 3 {
    case 1, 2: reachesSelf = true
    case 3: reachesSelf = false
    default: reachesSelf = value & 1 << 11 != 0 ? destination & 1 != 0 : destination == 0
    }
    // Fixed and lowest-priority delivery; INIT, start-up and the rest have nobody to go to.
    guard reachesSelf || destination == 0xFF, value >> 8 & 7 <= 1 else { return .none }
    let vector = UInt8(truncatingIfNeeded: value)
    guard vector >= 16 else { return .none }
    requested.insert(vector)
    return .interrupt
  }

  /// The timer has come.
  mutating func expire(now: UInt64) -> Effect {
    guard let due = deadline, due <= now else { return .none }
    if timerVector >> 17 & 3 == 1 { arm(from: now) } else { deadline = nil }
    let vector = UInt8(truncatingIfNeeded: timerVector)
    guard timerVector & 1 << 16 == 0, vector >= 16 else { return .timer }
    requested.insert(vector)
    return .interrupt
  }

  private var pendingVector: UInt8? {
    guard isEnabled, let vector = requested.highest, vector >> 4 > priority >> 4 else { return nil }
    return vector
  }

  /// Takes the vector that the processor services now.
  mutating func acknowledge() -> UInt8? {
    guard let vector = pendingVector else { return nil }
    requested.remove(vector)
    inService.insert(vector)
    return vector
  }
}

/// A set of interrupt vectors.
private struct VectorSet {
  private var words: InlineArray<4, UInt64> = .init(repeating: 0)

  mutating func insert(_ vector: UInt8) { words[Int(vector >> 6)] |= 1 << UInt64(vector & 63) }
  mutating func remove(_ vector: UInt8) { words[Int(vector >> 6)] &= ~(1 << UInt64(vector & 63)) }

  /// The highest vector.
  var highest: UInt8? {
    for index in (0..<4).reversed() where words[index] != 0 {
      return UInt8(index * 64 + 63 - words[index].leadingZeroBitCount)
    }
    return nil
  }

  /// The 32 vectors from 32 × `index` on.
  func word(_ index: UInt64) -> UInt32 {
    UInt32(truncatingIfNeeded: words[Int(index / 2)] >> (32 * (index & 1)))
  }
}
