/// The named places where another processor or the host can intervene.
///
/// In simulation each of them hands control to a seeded scheduler; otherwise it costs one
/// predictable branch (decision record 0002). A point inside one of our locks is one at which
/// others can run until they need that lock; no point lies inside a lock of `HostMemory` or of the
/// arena's lists, which have nobody to let in while they wait.
public enum InterleavingPoint: UInt8, Hashable, Sendable, CaseIterable {
  // MARK: The life of a fault

  /// The invalidation sequence was read; the host page is not looked up yet.
  ///
  /// The number is the guest frame. No lock is held.
  case beforeHostLookup
  /// The host page is known; the MMU lock is not taken yet.
  ///
  /// The number is the guest frame. No lock is held.
  case beforeMMULock
  /// A lock is held by somebody else, or something else has to pass first.
  case waitingForLock
  /// An entry was read; the compare-and-exchange has not happened yet.
  ///
  /// The number is the guest frame.
  case beforeEntryExchange
  /// An entry is frozen; the flush has not happened yet.
  case beforeFrozenFlush
  /// A writer works through many entries and could let others in.
  case betweenEntries

  // MARK: Memslots and the host

  /// A memslot change is prepared but not visible yet.
  case beforeMemslotCommit
  /// A notifier has begun and not ended.
  case insideInvalidation
  /// A flush was requested from another processor and not yet seen there.
  case beforeRemoteFlush
  /// A notifier was counted and has not taken the MMU lock yet.
  case beforeInvalidation
  /// Memslots were published; what was made for the layout before is still there.
  case afterMemslotPublish
  /// The invalidation sequence has moved on, and the invalidation is still in progress.
  case betweenSequenceAndCount
  /// The VMM knows where bytes of the guest lie and has not copied them yet.
  case beforeGuestBytes

  // MARK: Locks and entries

  /// A lock was taken.
  case lockTaken
  /// A lock was let go.
  case lockReleased
  /// A writer has decided on a new entry and not stored it: processors may still change the old
  /// one.
  ///
  /// The number is the guest frame.
  case beforeEntryReplacement
  /// Entries have changed, and the processors have not been told to forget the old ones.
  case beforeFlush
  /// A table was unlinked and is not free yet: others may be walking into it.
  ///
  /// The number is the table's first guest frame.
  case tableUnlinked

  // MARK: Requests

  /// A processor has said that it enters the guest, and has not looked for requests yet.
  case enteringGuest
  /// A processor has a translation and has not said that it left the guest.
  case insideGuest
  /// Requests are posted; who has to be waited for is not known yet.
  case requestsPosted

  /// Whether whoever is here waits for somebody else to make a step.
  public var isWaiting: Bool {
    switch self {
    case .waitingForLock, .beforeRemoteFlush: true
    default: false
    }
  }
}
