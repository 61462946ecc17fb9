public import PagingUnits

/// One access of a processor, as the reference sees it.
public struct ReferenceAccess: Hashable, Sendable {
  /// Where an access goes.
  public enum Target: Hashable, Sendable {
    /// Through the guest's own paging.
    case virtual(GuestVirtual)
    /// Past the guest's own paging.
    case physical(GuestPhysical)
  }

  /// Who walks and reaches.
  public enum Performer: Hashable, Sendable {
    /// The processor itself, through its TLB and the machine's tables.
    case processor
    /// The hypervisor for the guest: `VirtualMachine.emulatedAccess`.
    case hypervisor
  }

  /// The number of the processor.
  public var processor: Int
  /// The address of the first byte.
  public var target: Target
  /// What the access does.
  public var kind: AccessKind
  /// On whose behalf.
  public var privilege: Privilege
  /// Who makes the access.
  public var performer: Performer
  /// How many bytes are looked at, 0…8, all in one page; an access across a page boundary is two.
  public var byteCount: Int
  /// How many bytes of the page it touches, which may be more; sub-page protection goes by them.
  public var touchedBytes: Int

  /// An access in full.
  public init(
    processor: Int = 0, _ target: Target, _ kind: AccessKind, _ privilege: Privilege = .user,
    by performer: Performer = .processor, byteCount: Int = 1,
    touching touchedBytes: Int? = nil
  ) {
    precondition(0...8 ~= byteCount, "the reference looks at no more than eight bytes")
    self.processor = processor
    self.target = target
    self.kind = kind
    self.privilege = privilege
    self.performer = performer
    self.byteCount = byteCount
    self.touchedBytes = max(1, touchedBytes ?? byteCount)
  }
}
