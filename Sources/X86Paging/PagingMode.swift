public import PagingUnits

/// How a processor translates linear addresses (SDM volume 3A, "Paging Modes and Control Bits").
public enum PagingMode: UInt8, Hashable, Sendable, CaseIterable {
  /// CR0.PG is 0: a linear address is a physical address.
  case off
  /// Two levels of 4-byte entries.
  case bits32
  /// Four PDPTE registers and two levels of 8-byte entries.
  case pae
  /// Four levels of 8-byte entries.
  case fourLevel
  /// Five levels of 8-byte entries.
  case fiveLevel

  /// The mode that the registers select (KVM: `kvm_calc_cpu_role`).
  public init(_ registers: borrowing ControlRegisters) {
    guard CR0Layout.paging.isSet(in: registers.cr0) else {
      self = .off
      return
    }
    guard CR4Layout.physicalAddressExtension.isSet(in: registers.cr4) else {
      self = .bits32
      return
    }
    guard EFERLayout.longModeActive.isSet(in: registers.efer) else {
      self = .pae
      return
    }
    self = CR4Layout.fiveLevels.isSet(in: registers.cr4) ? .fiveLevel : .fourLevel
  }

  /// The level of the topmost entries; `nil` when paging is off.
  ///
  /// For PAE paging that is the level of the PDPTE registers.
  public var rootLevel: Level? {
    switch self {
    case .off: nil
    case .bits32: .page2M
    case .pae: .page1G
    case .fourLevel: .level4
    case .fiveLevel: .level5
    }
  }

  /// Whether the mode belongs to long mode.
  public var isLong: Bool { self == .fourLevel || self == .fiveLevel }

  /// How many low bits of a linear address are translated: 32, 48 or 57.
  public var linearBits: UInt64 {
    switch self {
    case .off, .bits32, .pae: 32
    case .fourLevel: 48
    case .fiveLevel: 57
    }
  }
}

extension GuestVirtual {
  /// Whether bits 63 to `width - 1` are all alike (SDM volume 1, "Canonical Addressing").
  ///
  /// - Parameter width: 48 or 57.
  /// - Returns: whether a processor of that width takes the address.
  public func isCanonical(width: UInt64) -> Bool {
    let spare = 64 &- width
    let signed = Int64(bitPattern: raw) &<< Int64(bitPattern: spare)
    return UInt64(bitPattern: signed &>> Int64(bitPattern: spare)) == raw
  }
}
