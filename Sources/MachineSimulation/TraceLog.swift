public import MachineEvents
public import Reports

/// The tracepoints of a stage, kept until somebody looks at them.
///
/// The number kept is bounded: when more come than fit, the oldest half goes.
public final class TraceLog {
  /// The tracepoints since the log was last emptied.
  public private(set) var events: [MachineEvent] = []
  /// How many there were in all, those included that went.
  public private(set) var count: UInt64 = 0
  private let limit: Int

  /// An empty log that keeps at most `limit` tracepoints; 0 only counts them.
  public init(limit: Int = 1 << 16) { self.limit = limit }

  /// The tap that fills the log; the log has to outlive every copy of it.
  var tap: EventTap {
    // SAFETY: the stage that owns the log owns the machine that holds the tap, which ends first.
    unsafe EventTap(context: Unmanaged.passUnretained(self).toOpaque()) { context, event in
      let log = unsafe Unmanaged<TraceLog>.fromOpaque(context).takeUnretainedValue()
      unsafe log.record(event.load(as: MachineEvent.self))
    }
  }

  private func record(_ event: MachineEvent) {
    count += 1
    guard limit > 0 else { return }
    if events.count >= limit { events.removeFirst(limit / 2) }
    events.append(event)
  }

  /// Forgets the tracepoints so far.
  public func removeAll() { events.removeAll(keepingCapacity: true) }

  /// The tracepoints as KVM prints them, one line each: name, colon, text.
  public func lines(_ vendor: TracepointText.Vendor) -> [String] {
    let writer = TracepointText(vendor)
    return events.map { event in
      var text = TextBuffer(capacity: 128)
      text.append(event.tracepointName)
      text.append(": ")
      writer.write(event, to: &text)
      return text.text
    }
  }
}
