/// What stands before the text of a tracepoint in a trace file: the task, the processor, the state
/// flags and the time.
///
///                 guest-1000   [001] ...1.  5531.707091: kvm_mmu_get_page: …
///     └ task, 17 ───┘ └──6─┘ cpu  flags  seconds
///
/// The core has no clock: whoever writes a trace says what time it is.
public struct TracepointPrefix: Hashable, Sendable {
  /// The name of the task.
  public var task: String
  /// The number of the task.
  public var taskNumber: UInt64
  /// The number of the host's processor.
  public var processor: UInt64
  /// How often preemption is off: 1 while the MMU lock is held; 0 shows as a dot.
  public var preemptionDepth: UInt8
  /// The time in microseconds since the trace's beginning.
  public var microseconds: UInt64

  /// A place and a time.
  public init(
    task: String = "guest", taskNumber: UInt64 = 1000, processor: UInt64 = 0,
    preemptionDepth: UInt8 = 0, microseconds: UInt64 = 0
  ) {
    self.task = task
    self.taskNumber = taskNumber
    self.processor = processor
    self.preemptionDepth = preemptionDepth
    self.microseconds = microseconds
  }

  /// Writes everything up to the tracepoint's name.
  public func write(to text: inout TextBuffer) {
    text.append(repeating: 0x20, times: 17 - task.utf8.count)
    text.append(string: task)
    text.append("-")
    let number = text.count
    text.appendDecimal(taskNumber)
    text.pad(from: number, to: 6)
    text.append(" [")
    text.appendDecimal(processor, width: 3, fill: 0x30)
    text.append("] ...")
    if preemptionDepth == 0 {
      text.append(".")
    } else {
      text.appendHex(UInt64(min(preemptionDepth, 15)))
    }
    text.append(". ")
    text.appendDecimal(microseconds / 1_000_000, width: 5)
    text.append(".")
    text.appendDecimal(microseconds % 1_000_000, width: 6, fill: 0x30)
    text.append(": ")
  }
}
