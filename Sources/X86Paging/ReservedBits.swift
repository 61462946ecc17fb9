import Mutations
public import PagingUnits

/// The bits that must be 0 in an entry, by its bit 7 and its level (KVM: `rsvd_bits_validate`).
public struct ReservedBits: Sendable {
  /// Masks at `5 * bit 7 + level - 1`.
  public var masks: InlineArray<10, UInt64>
  /// For each value of bits 5:0 of an EPT entry, whether it is a misconfiguration; 0 elsewhere
  /// (KVM: `bad_mt_xwr`).
  public var badLowBits: UInt64
  /// The reserved bits of a PDPTE register of PAE paging.
  public var pdpteMask: UInt64

  /// Nothing is reserved.
  public init() {
    masks = .init(repeating: 0)
    badLowBits = 0
    pdpteMask = 0
  }

  // `@inlinable`: asked at each level of a walk, where a call would copy the table (28 % of a
  // walk).
  /// Whether `word`, present at `depth`, has a reserved bit set.
  @inlinable public func isViolated(by word: UInt64, at depth: Int) -> Bool {
    let row = Int(truncatingIfNeeded: (word &>> 7) & 1) &* 5 &+ depth &- 1
    return word & masks[row] != 0 || (badLowBits &>> (word & 63)) & 1 != 0
  }

  /// The mask for an entry of `level` whose bit 7 is `bit7`, 0 or 1.
  public subscript(bit7: Int, level: Level) -> UInt64 {
    get { masks[bit7 * 5 + Int(level.depth) - 1] }
    set { masks[bit7 * 5 + Int(level.depth) - 1] = newValue }
  }

  /// Sets the mask of both values of bit 7.
  private mutating func setBoth(_ level: Level, _ mask: UInt64) {
    self[0, level] = mask
    self[1, level] = mask
  }

  /// The bits of a guest's own tables (KVM: `__reset_rsvds_bits_mask`).
  ///
  /// * `mode`: how the tables are read.
  /// * `features`: the guest's processor.
  /// * `noExecute`: whether EFER.NXE is 1; otherwise bit 63 is reserved.
  /// * `largePages`: whether CR4.PSE is 1; looked at by 32-bit paging alone.
  public init(
    mode: PagingMode, features: PagingFeatures, noExecute: Bool, largePages: Bool
  ) {
    self.init()
    var high = features.reservedAddressBits
    high &= mode == .pae ? bits(0...62) : bits(0...51)
    if !noExecute { high |= 1 << 63 }
    switch mode {
    case .off: break
    case .bits32:
      if largePages { self[1, .page2M] = Bits32Layout.largeReserved(features) }
    case .pae:
      pdpteMask = high | 1 << 63 | bits(5...8) | bits(1...2)
      setBoth(.page1G, pdpteMask)
      setBoth(.page4K, high)
      self[0, .page2M] = high
      self[1, .page2M] = high | bits(13...20)
    case .fourLevel, .fiveLevel:
      let top = high | 1 << 7 | (features.vendor == .amd ? 1 << 8 : 0)
      setBoth(.level5, top)
      setBoth(.level4, top)
      if Mutation.psBitIgnoredInUpperLevels.isActive {
        setBoth(.level5, top & ~(1 << 7))
        setBoth(.level4, top & ~(1 << 7))
      }
      self[0, .page1G] = high
      self[1, .page1G] = high | (features.hasGigabytePages ? bits(13...29) : 1 << 7)
      self[0, .page2M] = high
      self[1, .page2M] = high | bits(13...20)
      setBoth(.page4K, high)
    }
    if Mutation.superpageLowBitsUnchecked.isActive {
      self[1, .page2M] &= ~bits(13...20)
      self[1, .page1G] &= ~bits(13...29)
    }
  }

  /// The bits of EPT-shaped tables (KVM: `__reset_rsvds_bits_mask_ept`).
  public init(ept features: PagingFeatures) {
    self.init()
    let high = features.reservedAddressBits & bits(0...51)
    setBoth(.level5, high | bits(3...7))
    setBoth(.level4, high | bits(3...7))
    self[0, .page1G] = high | bits(3...6)
    self[1, .page1G] = high | (features.hasGigabyteEPTPages ? bits(12...29) : 1 << 7)
    self[0, .page2M] = high | bits(3...6)
    self[1, .page2M] = high | (features.hasMegabyteEPTPages ? bits(12...20) : 1 << 7)
    setBoth(.page4K, high)
    for low in 0..<64 as Range<UInt64> {
      let type = low >> 3
      let access = low & 0b111
      let badType = type == 2 || type == 3 || type == 7
      let badAccess =
        access == 0b010 || access == 0b110 || (access == 0b100 && !features.hasExecuteOnly)
      if badType || badAccess { badLowBits |= 1 << low }
    }
  }
}

private func bits(_ range: ClosedRange<Int>) -> UInt64 { Field(range).mask }
