public import PagingUnits
import Synchronization

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
///
/// The value is a view of the row and not a copy: it shows what the row says now, for as long as
/// the arena lives. Each field is read and written in one piece, by any thread; what several fields
/// say together, and that nobody else is writing, is up to whoever holds what guards the row.
@safe public struct ShadowPage: @unchecked Sendable {
  // SAFETY: a row of an arena is initialized once and never moves, and the arena outlives the view.
  private let row: UnsafePointer<ShadowPageRow>

  /// A view of a row of an arena that outlives it.
  @unsafe init(row: UnsafePointer<ShadowPageRow>) { unsafe self.row = row }

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

  // Relaxed throughout: a row is handed from one thread to another by a lock, by the entry that
  // points to its table, or by a request to a processor, and each of these orders what came before.

  /// The host frame of the table itself (KVM: `spt`).
  public internal(set) var frame: HostFrame {
    // SAFETY: the row is there as long as its arena.
    get { HostFrame(unsafe row.pointee.frame.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.frame.store(newValue.number, ordering: .relaxed)
    }
  }

  /// The first guest frame that the table covers.
  public internal(set) var guestFrame: GuestFrame {
    // SAFETY: the row is there as long as its arena.
    get { GuestFrame(unsafe row.pointee.guestFrame.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.guestFrame.store(newValue.number, ordering: .relaxed)
    }
  }

  /// What kind of table it is; of a live one only `isInvalid` changes, under the writer side of the
  /// MMU lock.
  public internal(set) var role: ShadowPageRole {
    // SAFETY: the row is there as long as its arena.
    get { ShadowPageRole(word: unsafe row.pointee.role.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.role.store(newValue.word, ordering: .relaxed)
    }
  }

  /// The generation it was made in (KVM: `mmu_valid_gen`).
  public internal(set) var generation: UInt8 {
    // SAFETY: the row is there as long as its arena.
    get { unsafe row.pointee.generation.load(ordering: .relaxed) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.generation.store(newValue, ordering: .relaxed)
    }
  }

  /// Where in its life it is.
  public internal(set) var state: State {
    get {
      // SAFETY: the row is there as long as its arena.
      guard let state = State(rawValue: unsafe row.pointee.state.load(ordering: .relaxed)) else {
        preconditionFailure("a row is in a state that exists")
      }
      return state
    }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.state.store(newValue.rawValue, ordering: .relaxed)
    }
  }

  /// How many processors, and the MMU itself, use it as a root; under the writer side of the MMU
  /// lock.
  public internal(set) var rootReferences: UInt32 {
    // SAFETY: the row is there as long as its arena.
    get { unsafe row.pointee.rootReferences.load(ordering: .relaxed) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.rootReferences.store(newValue, ordering: .relaxed)
    }
  }

  /// Whether an invalidated root still waits to be emptied.
  public internal(set) var isScheduledToZap: Bool {
    // SAFETY: the row is there as long as its arena.
    get { unsafe row.pointee.isScheduledToZap.load(ordering: .relaxed) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.isScheduledToZap.store(newValue, ordering: .relaxed)
    }
  }

  /// The one entry that points to it, for direct tables; address 0 for a root (KVM: `ptep`).
  public internal(set) var parentEntry: HostPhysical {
    // SAFETY: the row is there as long as its arena.
    get { HostPhysical(unsafe row.pointee.parentEntry.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.parentEntry.store(newValue.raw, ordering: .relaxed)
    }
  }

  /// The next row of the list that the row is on.
  var next: ShadowPageID {
    // SAFETY: the row is there as long as its arena.
    get { ShadowPageID(number: unsafe row.pointee.next.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.next.store(newValue.number, ordering: .relaxed)
    }
  }

  /// The previous row of the active list.
  var previous: ShadowPageID {
    // SAFETY: the row is there as long as its arena.
    get { ShadowPageID(number: unsafe row.pointee.previous.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.previous.store(newValue.number, ordering: .relaxed)
    }
  }

  /// The next row in the same hash bucket.
  var hashNext: ShadowPageID {
    // SAFETY: the row is there as long as its arena.
    get { ShadowPageID(number: unsafe row.pointee.hashNext.load(ordering: .relaxed)) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.hashNext.store(newValue.number, ordering: .relaxed)
    }
  }

  /// When it was retired.
  var retiredAt: UInt64 {
    // SAFETY: the row is there as long as its arena.
    get { unsafe row.pointee.retiredAt.load(ordering: .relaxed) }
    nonmutating set {
      // SAFETY: the row is there as long as its arena.
      unsafe row.pointee.retiredAt.store(newValue, ordering: .relaxed)
    }
  }

  // No `+=` on a field from outside: the thread sanitizer takes it for a change of the arena.

  /// Whether it is used as a root.
  public var isRoot: Bool { parentEntry.raw == 0 && rootReferences > 0 }

  /// Says of a row that nobody uses that it has an empty table in `frame`, in stock.
  func stock(_ frame: HostFrame) {
    self.frame = frame
    guestFrame = GuestFrame(0)
    role = ShadowPageRole(word: 0)
    generation = 0
    rootReferences = 0
    isScheduledToZap = false
    parentEntry = HostPhysical(0)
    next = .none
    previous = .none
    hashNext = .none
    retiredAt = 0
    state = .cached
  }
}
