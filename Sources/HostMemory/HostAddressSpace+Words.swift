public import PagingUnits

/// Single words of the process's memory, read in one piece: the entries of tables that lie in it.
///
/// Nothing is faulted in. What lies outside memory, in a device, reads as all ones.
extension HostAddressSpace {
  /// How many bytes a word has.
  public enum WordSize: Hashable, Sendable {
    /// 4 bytes.
    case four
    /// 8 bytes.
    case eight
  }

  /// The word at an address that is a multiple of its size; `nil` when the mapping there cannot be
  /// read now.
  public func word(at address: HostVirtual, _ size: WordSize) -> UInt64? {
    lock()
    defer { unlock() }
    guard let page = lookUpMapped(address, for: .read) else { return nil }
    return word(at: page.frame.address + address.pageOffset, size)
  }

  /// Eight words from an address on, a multiple of their size together, which puts them in one
  /// page; `nil` when the mapping there cannot be read now.
  public func eightWords(
    at address: HostVirtual, _ size: WordSize
  ) -> InlineArray<8, UInt64>? {
    let step: UInt64 = size == .eight ? 8 : 4
    precondition(address.raw & (8 * step - 1) == 0, "eight words are read where they are aligned")
    lock()
    defer { unlock() }
    guard let page = lookUpMapped(address, for: .read) else { return nil }
    let first = page.frame.address + address.pageOffset
    var words = InlineArray<8, UInt64>(repeating: 0)
    for index in 0..<8 { words[index] = word(at: first + UInt64(index) &* step, size) }
    return words
  }

  private func word(at place: HostPhysical, _ size: WordSize) -> UInt64 {
    size == .eight
      ? host.memory.entryOrOnes(at: place) : UInt64(host.memory.entry32OrOnes(at: place))
  }
}
