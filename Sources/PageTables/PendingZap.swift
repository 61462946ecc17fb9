import Mutations
import PagingUnits

/// Shadow pages on their way out, and the flush that has to come before they go (KVM:
/// `invalid_list`, `kvm_mmu_commit_zap_page`).
///
/// They are unlinked and can no longer be found; a processor may still be walking through them.
/// Dropping a list that holds anything traps.
public struct PendingZap: ~Copyable {
  private var first = ShadowPageID.none
  /// How many pages it holds.
  public private(set) var count = 0
  /// The flush that is owed; it is paid when the list is committed.
  public var flush = PendingFlush()
  /// Whether a root became invalid that a processor still uses.
  public var hasInvalidRoot = false

  /// Nothing goes yet.
  public init() {}

  /// Whether nothing goes and no flush is owed.
  public var isEmpty: Bool { count == 0 && !flush.isOwed }

  /// Adds a page that was unlinked and delisted.
  public mutating func add(_ id: ShadowPageID, _ tables: borrowing PageTables) {
    tables.arena[id].next = first
    first = id
    count += 1
  }

  /// Pays the flush, if there is any reason for one, and retires the pages; under the writer side
  /// of the MMU lock.
  public consuming func commit(_ tables: borrowing PageTables) {
    if count > 0 {
      // Whatever the pages' entries gave, and the pages themselves in the processors' caches.
      flush.owe(GuestFrame(0), .level5)
    }
    if Mutation.zapCommittedWithoutFlush.isActive {
      flush.take().settle()
    } else {
      flush.take().pay(tables.flusher)
    }
    var id = first
    while id != .none {
      let next = tables.arena[id].next
      tables.retire(id)
      id = next
    }
    count = 0
  }

  deinit { precondition(count == 0, "shadow pages on their way out are committed") }
}

extension PendingFlush {
  /// Takes the debt over, leaving none.
  public mutating func take() -> PendingFlush {
    var taken = PendingFlush()
    taken.assume(&self)
    return taken
  }
}
