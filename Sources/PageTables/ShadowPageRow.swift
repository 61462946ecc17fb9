import Synchronization

/// A row of the arena as it lies in memory: the fields of a shadow page, each read and written in
/// one piece.
///
/// Several threads look at one row: a processor asks whether its root is still valid while another
/// is counted in. What orders two fields is said by whoever guards the row.
struct ShadowPageRow: ~Copyable {
  let frame = Atomic<UInt64>(0)
  let guestFrame = Atomic<UInt64>(0)
  let parentEntry = Atomic<UInt64>(0)
  let retiredAt = Atomic<UInt64>(0)
  let role = Atomic<UInt32>(0)
  let rootReferences = Atomic<UInt32>(0)
  let next = Atomic<UInt32>(0)
  let previous = Atomic<UInt32>(0)
  let hashNext = Atomic<UInt32>(0)
  let generation = Atomic<UInt8>(0)
  let state = Atomic<UInt8>(ShadowPage.State.free.rawValue)
  let isScheduledToZap = Atomic<Bool>(false)
}
