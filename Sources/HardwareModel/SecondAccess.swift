import PagingUnits

/// What a guest-physical address is used for.
enum SecondPurpose {
  /// The translation of a linear address, or an access that has none.
  case final
  /// An entry of the guest's tables: its reading in a walk, or the setting of its bits.
  case table
}

/// One access to a guest-physical address.
struct SecondAccess {
  let address: UInt64
  let kind: AccessKind
  /// Whether it counts as a write: it is one, or it may set bits in the guest's tables.
  let writes: Bool
  let purpose: SecondPurpose
  let linear: UInt64?

  func isPermitted(_ rights: SecondRights) -> Bool {
    if kind == .fetch { return rights.contains(.execute) }
    return (!writes || rights.contains(.write)) && (kind == .write || rights.contains(.read))
  }

  /// The exit of an EPT violation; `rights` are those that all entries of the walk give, 0 where
  /// one is not present.
  ///
  /// A walk of the guest's tables that counts as a write sets bits 0 and 1; a data write, of
  /// whatever instruction, and the setting of a bit in the guest's tables set bit 1 alone, which
  /// the manual leaves to the processor (SDM volume 3C, "Exit Qualification for EPT Violations").
  func violation(_ rights: UInt64) -> HardwareExit {
    var qualification = rights << 3
    if kind == .read { qualification |= 1 << 0 }
    if writes { qualification |= 1 << 1 }
    if kind == .fetch { qualification |= 1 << 2 }
    if linear != nil {
      qualification |= 1 << 7
      if purpose == .final { qualification |= 1 << 8 }
    }
    return .eptViolation(
      qualification: qualification, GuestPhysical(address), linear: linear.map(GuestVirtual.init))
  }

  /// The exit of a nested page fault; `wrong` holds the bits that say why.
  ///
  /// Every access of a guest is a user access to the nested tables (APM volume 2, "Nested versus
  /// Guest Page Faults, Fault Ordering").
  func nestedFault(_ wrong: UInt64) -> HardwareExit {
    var code = wrong | 1 << 2
    if writes { code |= 1 << 1 }
    if kind == .fetch { code |= 1 << 4 }
    code |= purpose == .final ? 1 << 32 : 1 << 33
    return .nestedPageFault(errorCode: code, GuestPhysical(address))
  }
}
