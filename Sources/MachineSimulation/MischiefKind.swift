/// Something that hardware or the host may do to a machine at any time, and that must not change
/// what the guest sees.
public enum MischiefKind: UInt8, Hashable, Sendable, CaseIterable {
  /// A processor's TLB loses a translation.
  case eviction
  /// A compare-and-exchange of an entry fails although nobody was faster.
  case lostExchange
  /// A processor's stock of tables is given back before a step, so that its next fault needs more.
  case emptyCache
  /// The host moves the page that a fault has just looked up, or is about to look up.
  case migration
  /// The host takes that page out of memory; the next touch brings it back.
  case swapping
  /// The host forgets whether that page was used.
  case aging
  /// The host takes the right to write the page's region away and gives it back at once; only
  /// while no bodies run interleaved, because others could try to write meanwhile.
  case protection
  /// The host splits the huge page around that page.
  case splitting
  /// The host joins the pages around that page into one of 2 MiB.
  case joining
  /// The host drops that page: its content is lost, which the guest does see.
  case unmapping
  /// One of the next allocations in a step is refused, which callers may see.
  case refusal

  /// Whether it happens to the page of a fault that holds no lock.
  var concernsPage: Bool {
    switch self {
    case .migration, .swapping, .aging, .protection, .splitting, .joining, .unmapping: true
    case .eviction, .lostExchange, .emptyCache, .refusal: false
    }
  }
}

/// How often each kind of mischief is done: in how many of 1,024 places where it could be.
public struct MischiefWeights: Hashable, Sendable {
  private var weights: [UInt64]

  /// No mischief at all.
  public static var none: MischiefWeights {
    MischiefWeights(weights: Array(repeating: 0, count: MischiefKind.allCases.count))
  }

  /// Everything that neither the guest nor callers see, in one of 32 places.
  public static var unseen: MischiefWeights {
    var weights = none
    for kind in MischiefKind.allCases { weights[kind] = 32 }
    weights[.unmapping] = 0
    weights[.refusal] = 0
    return weights
  }

  /// Only one kind, so often.
  public static func only(_ kind: MischiefKind, _ weight: UInt64 = 512) -> MischiefWeights {
    var weights = none
    weights[kind] = weight
    return weights
  }

  /// The weight of a kind, 0…1024.
  public subscript(kind: MischiefKind) -> UInt64 {
    get { weights[Int(kind.rawValue)] }
    set {
      precondition(newValue <= 1024, "a weight counts places in 1,024")
      weights[Int(kind.rawValue)] = newValue
    }
  }
}
