public import Mutations
public import PagingUnits

/// What became of loading the PDPTE registers of PAE paging.
public enum PDPTELoad: Sendable {
  /// The registers have these values.
  case loaded(InlineArray<4, UInt64>)
  /// The entry of this index, 0…3, is present with a reserved bit set: #GP.
  case reservedBit(index: Int)
  /// The four entries lie where there is no memory: #GP.
  case absent
  /// A second dimension refused; the memory knows why.
  case refused
}

// `@inlinable`: generic over the memory, as a walk is.
extension WalkRules {
  /// Reads the four PDPTEs that CR3 points to (KVM: `load_pdptrs`).
  ///
  /// They are cached until CR3, or a control bit that matters, is written; a guest's changes to
  /// memory have no effect before. Entries that are not present are not checked (SDM volume 3A,
  /// "PDPTE Registers").
  ///
  /// * `cr3`: bits 31:5 are the address of the entries.
  /// * `memory`: where the entries lie.
  /// - Returns: the values, or why there are none.
  @inlinable
  public func loadPDPTEs<Memory: GuestTableMemory & ~Copyable>(
    cr3: UInt64, in memory: inout Memory
  ) -> PDPTELoad {
    var registers = InlineArray<4, UInt64>(repeating: 0)
    let start = cr3 & (Mutation.pdptesReadFromPageStart.isActive ? 0xFFFF_F000 : 0xFFFF_FFE0)
    for index in 0..<4 {
      switch memory.entry(at: GuestPhysical(start &+ UInt64(index &* 8))) {
      case .absent: return .absent
      case .refused: return .refused
      case .entry(let word):
        if word & 1 != 0 && word & reserved.pdpteMask != 0 { return .reservedBit(index: index) }
        registers[index] = word
      }
    }
    return .loaded(registers)
  }
}
