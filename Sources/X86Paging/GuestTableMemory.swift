public import PagingUnits

/// What a walk finds where an entry should be.
public enum EntryRead: Hashable, Sendable {
  /// The entry's bits; a 4-byte entry in the low half.
  case entry(UInt64)
  /// There is no memory there that a table could lie in.
  case absent
  /// A second dimension refused; whoever provides the memory knows why.
  case refused
}

/// What became of an attempt to set an accessed or dirty bit.
public enum EntryExchange: UInt8, Hashable, Sendable {
  /// The entry was as expected and is now as desired.
  case exchanged
  /// Somebody changed the entry in between.
  case mismatch
  /// The memory cannot be written; the bit stays clear and the walk goes on.
  case readOnly
  /// The memory went away.
  case absent
}

/// What became of a page's address on its way through a second dimension.
public enum PageReach: Hashable, Sendable {
  /// The address in the space that the tables' frames live in, one dimension further down.
  case reached(GuestPhysical)
  /// A second dimension refused; whoever provides the memory knows why.
  case refused
}

/// The memory that a guest's tables lie in, as a walk sees it.
///
/// An owner of memslots, a core dump and an arena of a test all are such a memory. Entries are
/// read and exchanged in one piece, because processors walk the same tables at the same time.
public protocol GuestTableMemory: ~Copyable {
  /// Reads an 8-byte entry; `address` is 8-byte aligned.
  mutating func entry(at address: GuestPhysical) -> EntryRead
  /// Reads a 4-byte entry; `address` is 4-byte aligned.
  mutating func shortEntry(at address: GuestPhysical) -> EntryRead
  /// Replaces an 8-byte entry if it still equals `expected`, and marks its frame dirty.
  mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange
  /// Replaces a 4-byte entry if it still equals `expected`, and marks its frame dirty.
  mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange
  /// Takes the address that the walk found through a second dimension, if there is one.
  ///
  /// * `address`: the address of the very byte.
  /// * `asked`: the access, as the walk was asked.
  /// - Returns: the address one dimension further down.
  mutating func reach(_ address: GuestPhysical, for asked: PageFaultErrorCode) -> PageReach
}

// `@inlinable`: part of every walk that a client specialises.
extension GuestTableMemory where Self: ~Copyable {
  /// There is no second dimension: the address is reached as it is.
  @inlinable public mutating func reach(
    _ address: GuestPhysical, for asked: PageFaultErrorCode
  ) -> PageReach { .reached(address) }
}
