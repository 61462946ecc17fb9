public import PagingUnits

/// The name of a row in the arena of shadow pages.
public struct ShadowPageID: Hashable, Sendable {
  /// The row's number; 0 names no row.
  public let number: UInt32

  init(number: UInt32) { self.number = number }

  /// No shadow page.
  public static let none = ShadowPageID(number: 0)
}

/// One table that the MMU built: a row of the arena (KVM: `struct kvm_mmu_page`).
///
/// Shadow, direct, nested, SPP and mirror tables are all rows of one arena; the role says which.
/// The 4096 bytes that a processor walks lie in `frame`, whose record points back to the row.
public struct ShadowPage: Sendable {
  /// The host frame of the table itself (KVM: `spt`).
  public internal(set) var frame: HostFrame
  /// The first guest frame that the table covers.
  public var guestFrame: GuestFrame
  /// What kind of table it is.
  public var role: ShadowPageRole
  /// The generation it was made in (KVM: `mmu_valid_gen`).
  public var generation: UInt8
  /// Where in its life it is.
  public internal(set) var state: State
  /// How many processors, and the MMU itself, use it as a root.
  public var rootReferences: UInt32
  /// Whether an invalidated root still waits to be emptied.
  public var isScheduledToZap: Bool
  /// The one entry that points to it, for direct tables; address 0 for a root (KVM: `ptep`).
  public var parentEntry: HostPhysical

  /// The next row of the list that the row is on.
  var next: ShadowPageID
  /// The previous row of the active list.
  var previous: ShadowPageID
  /// The next row in the same hash bucket.
  var hashNext: ShadowPageID
  /// When it was retired.
  var retiredAt: UInt64

  /// Where in its life a row is.
  public enum State: UInt8, Hashable, Sendable {
    /// Nobody's; it has no table frame.
    case free
    /// Stocked in a cache, its table empty.
    case cached
    /// In use.
    case live
    /// Unlinked; a processor may still be looking at it.
    case retired
  }

  init() {
    frame = HostFrame(0)
    guestFrame = GuestFrame(0)
    role = ShadowPageRole(word: 0)
    generation = 0
    state = .free
    rootReferences = 0
    isScheduledToZap = false
    parentEntry = HostPhysical(0)
    next = .none
    previous = .none
    hashNext = .none
    retiredAt = 0
  }

  /// Whether it is used as a root.
  public var isRoot: Bool { parentEntry.raw == 0 && rootReferences > 0 }
}
