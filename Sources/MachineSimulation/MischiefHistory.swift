public import MachineEvents

/// Everything that a seed did to a machine.
public struct MischiefHistory: Hashable, Sendable {
  /// One thing that was done.
  public struct Event: Hashable, Sendable {
    /// What.
    public var kind: MischiefKind
    /// In whose turn; `nil` when no bodies ran interleaved.
    public var actor: Int?
    /// Where; `nil` before a step.
    public var point: InterleavingPoint?
    /// What it was about: a place in a TLB, a guest frame, the number of an allocation.
    public var number: UInt64
  }

  /// The first events, as many as are kept.
  public private(set) var events: [Event] = []
  /// How many events there were.
  public private(set) var count = 0
  /// How many of each kind.
  private var counts = Array(repeating: 0, count: MischiefKind.allCases.count)
  /// A number that differs where histories differ; of all events, kept or not.
  public private(set) var digest = HistoryDigest()
  private let limit: Int

  init(limit: Int) { self.limit = limit }

  mutating func add(_ event: Event) {
    count += 1
    counts[Int(event.kind.rawValue)] += 1
    if events.count < limit { events.append(event) }
    digest.add(event.kind.rawValue)
    digest.add(UInt8(truncatingIfNeeded: event.actor ?? 0xFF))
    digest.add(event.point?.rawValue ?? 0xFF)
    digest.add(event.number)
  }

  /// How many events there were of a kind.
  public func count(of kind: MischiefKind) -> Int { counts[Int(kind.rawValue)] }

  /// One line an event.
  public var text: String {
    var text = ""
    for event in events {
      let actor = event.actor.map { "\($0)" } ?? "-"
      let point = event.point.map { "\($0)" } ?? "before a step"
      text += "\(actor) \(point): \(event.kind) 0x\(String(event.number, radix: 16))\n"
    }
    return text
  }
}
