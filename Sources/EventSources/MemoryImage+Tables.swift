public import PagingUnits
public import X86Paging

/// A walk reads tables in an image; nothing can be written there.
extension MemoryImage: GuestTableMemory {
  /// Reads an 8-byte entry; absent outside the image.
  public mutating func entry(at address: GuestPhysical) -> EntryRead {
    guard let word = word64(at: address) else { return .absent }
    return .entry(word)
  }

  /// Reads a 4-byte entry; absent outside the image.
  public mutating func shortEntry(at address: GuestPhysical) -> EntryRead {
    guard let word = word32(at: address) else { return .absent }
    return .entry(UInt64(word))
  }

  /// Refuses: an image is never written.
  public mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange { .readOnly }

  /// Refuses: an image is never written.
  public mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange { .readOnly }
}
