import GuestProcessor

/// What a guest asked of its own paging, instruction by instruction.
///
/// Whether an instruction leaves the guest depends on the MMU; that it was executed does not.
public struct PagingOperations: Hashable, Sendable {
  /// MOV to CR3, the same value included.
  public var rootLoads: UInt64 = 0
  /// MOV to CR0 and CR4, WRMSR to EFER and PAT.
  public var modeChanges: UInt64 = 0
  /// INVLPG and INVPCID.
  public var invalidations: UInt64 = 0

  mutating func count(_ instruction: ControlInstruction) {
    switch instruction {
    case .moveToCR3: rootLoads += 1
    case .moveToCR0, .moveToCR4, .writeEFER, .writePAT: modeChanges += 1
    case .writePKRU: break
    }
  }
}
