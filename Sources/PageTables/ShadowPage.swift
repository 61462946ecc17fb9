public import PagingUnits

/// The name of a row in the arena of shadow pages.
public struct ShadowPageID: Hashable, Sendable {
  /// The row's number; 0 names no row.
  public let number: UInt32

  init(number: UInt32) { self.number = number }

  /// No shadow page.
  public static let none = ShadowPageID(number: 0)
}

/// One table that the MMU built, as its row of the arena was at a moment (KVM: `struct
/// kvm_mmu_page`).
///
/// Shadow, direct, nested, SPP and mirror tables are all rows of one arena; the role says which.
/// The 4096 bytes that a processor walks lie in `frame`, whose record points back to the row.
public struct ShadowPage: Sendable {
  /// The host frame of the table itself (KVM: `spt`).
  public internal(set) var frame: HostFrame
  /// The first guest frame that the table covers.
  public internal(set) var guestFrame = GuestFrame(0)
  /// What kind of table it is.
  public internal(set) var role = ShadowPageRole(word: 0)
  /// The generation it was made in (KVM: `mmu_valid_gen`).
  public internal(set) var generation: UInt8 = 0
  /// Where in its life it is.
  public internal(set) var state: State
  /// How many processors, and the MMU itself, use it as a root.
  public internal(set) var rootReferences: UInt32 = 0
  /// Whether an invalidated root still waits to be emptied.
  public internal(set) var isScheduledToZap = false
  /// The one entry that points to it, for direct tables; address 0 for a root (KVM: `ptep`).
  public internal(set) var parentEntry = HostPhysical(0)

  /// The next row of the list that the row is on.
  var next = ShadowPageID.none
  /// The previous row of the active list.
  var previous = ShadowPageID.none
  /// The next row in the same hash bucket.
  var hashNext = ShadowPageID.none
  /// When it was retired.
  var retiredAt: UInt64 = 0

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

  /// Whether it is used as a root.
  public var isRoot: Bool { parentEntry.raw == 0 && rootReferences > 0 }
}
