/// What a fuzzing session does: from which seed, how far, and with which emphasis.
public struct FuzzConfiguration: Hashable, Sendable {
  /// What a session looks at most.
  public enum Focus: String, Hashable, Sendable, CaseIterable {
    /// Shadow paging.
    case shadow
    /// Two-dimensional paging.
    case direct
    /// Guests inside guests.
    case nested
    /// Sub-page permissions.
    case spp
    /// Private memory.
    case `private`
    /// The layout of guest memory.
    case memslots
    /// What the host does to its pages.
    case host

    /// Whether what it looks at exists.
    public var isBuilt: Bool {
      switch self {
      case .shadow, .direct, .spp, .memslots, .host: true
      case .nested, .private: false
      }
    }
  }

  /// The seed of the first run; each further run has the next number, so that any run can be had
  /// again alone.
  public var seed: UInt64
  /// The number of steps of each run, counted in operations; `nil` lets the seed choose, 200 to
  /// 3,000.
  public var stepsPerRun: Int?
  /// The emphasis; `nil` for all alike.
  public var focus: Focus?
  /// After how many steps the whole machine is inspected, besides after structural operations.
  public var inspectionInterval = 64
  /// The most steps that are replayed to make a failure smaller.
  public var shrinkingLimit = 400_000

  /// A session from a seed, with the standard emphasis.
  public init(seed: UInt64) { self.seed = seed }
}
