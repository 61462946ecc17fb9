import HostMemory
import PagingUnits
import Synchronization

/// A row of the arena: the fields of a shadow page, each read and written in one piece.
///
/// Several threads look at one row: a processor asks whether its root is still valid while another
/// is counted in. What orders two fields is said by whoever guards the row.
struct ShadowPageRow: ~Copyable {
  let frame = Atomic<UInt64>(0)
  let guestFrame = Atomic<UInt64>(0)
  let role = Atomic<UInt32>(0)
  let generation = Atomic<UInt8>(0)
  let state = Atomic<UInt8>(ShadowPage.State.free.rawValue)
  let rootReferences = Atomic<UInt32>(0)
  let isScheduledToZap = Atomic<Bool>(false)
  let parentEntry = Atomic<UInt64>(0)
  let next = Atomic<UInt32>(0)
  let previous = Atomic<UInt32>(0)
  let hashNext = Atomic<UInt32>(0)
  let retiredAt = Atomic<UInt64>(0)

  /// The row becomes another's, field by field; nobody else may be looking at it.
  func store(_ row: ShadowPage) {
    frame.store(row.frame.number, ordering: .relaxed)
    describe(row.guestFrame, row.role, generation: row.generation)
    state.store(row.state.rawValue, ordering: .relaxed)
    rootReferences.store(row.rootReferences, ordering: .relaxed)
    isScheduledToZap.store(row.isScheduledToZap, ordering: .relaxed)
    parentEntry.store(row.parentEntry.raw, ordering: .relaxed)
    next.store(row.next.number, ordering: .relaxed)
    previous.store(row.previous.number, ordering: .relaxed)
    hashNext.store(row.hashNext.number, ordering: .relaxed)
    retiredAt.store(row.retiredAt, ordering: .relaxed)
  }

  /// Says what the table is.
  func describe(_ frame: GuestFrame, _ role: ShadowPageRole, generation: UInt8) {
    guestFrame.store(frame.number, ordering: .relaxed)
    self.role.store(role.word, ordering: .relaxed)
    self.generation.store(generation, ordering: .relaxed)
  }

  /// The row as a value.
  var snapshot: ShadowPage {
    guard let state = ShadowPage.State(rawValue: state.load(ordering: .relaxed)) else {
      preconditionFailure("a row is in one of its states")
    }
    return ShadowPage(
      frame: HostFrame(frame.load(ordering: .relaxed)),
      guestFrame: GuestFrame(guestFrame.load(ordering: .relaxed)),
      role: ShadowPageRole(word: role.load(ordering: .relaxed)),
      generation: generation.load(ordering: .relaxed), state: state,
      rootReferences: rootReferences.load(ordering: .relaxed),
      isScheduledToZap: isScheduledToZap.load(ordering: .relaxed),
      parentEntry: HostPhysical(parentEntry.load(ordering: .relaxed)),
      next: ShadowPageID(number: next.load(ordering: .relaxed)),
      previous: ShadowPageID(number: previous.load(ordering: .relaxed)),
      hashNext: ShadowPageID(number: hashNext.load(ordering: .relaxed)),
      retiredAt: retiredAt.load(ordering: .relaxed))
  }
}
