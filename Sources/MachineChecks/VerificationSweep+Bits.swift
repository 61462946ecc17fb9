import PagingUnits
import X86Paging

extension VerificationSweep {
  private static let widths: InlineArray<8, UInt64> = [32, 36, 39, 40, 46, 48, 51, 52]

  /// Every pair of single bits turned in a leaf of each size and in each upper 8-byte entry, for
  /// every class of MAXPHYADDR and every feature that reserves bits.
  static func bits(_ format: VerificationFormat) -> VerificationSweep {
    VerificationSweep(
      name: "pairs of bits", format: format, settings: 8 * 2 * 2 * 2 * 3,
      cases: 4 * 65 * 65 * 3,
      setting: { index in
        var digits = Digits(index)
        let width = widths[Int(digits.take(8))]
        let first = digits.take(2)
        var setting = VerificationSetting(format, levels: first == 0 ? 4 : 5)
        setting.features.physicalBits = width
        if !format.isSecondDimension { setting.features.vendor = first == 0 ? .intel : .amd }
        let second = digits.take(2) == 1
        let third = digits.flag(0)
        switch format {
        case .ept:
          setting.features.hasExecuteOnly = second
          setting.secondRoot |= third << 6
        case .npt:
          setting.features.hasGigabytePages = true
        default:
          setting.features.hasGigabytePages = second
          setting.registers.efer |= third << 11
        }
        setting.leafDepth = 1 + Int(digits.take(3))
        return setting
      },
      instance: { setting, index in
        var digits = Digits(index)
        let leaf = setting.leafDepth
        let above = leaf + 1 + Int(digits.take(4))
        let isAlone = leaf == setting.rootDepth && above == leaf + 1
        guard above <= setting.rootDepth || isAlone else { return nil }
        var one = openCase(setting)
        one.kind = AccessKind(rawValue: UInt8(digits.take(3))) ?? .read
        let leafBit = digits.take(65)
        let upperBit = digits.take(65)
        let isEPT = setting.format == .ept
        one.entries[leaf - 1] = isEPT ? 0x337 : 0x67
        if leaf > 1 { one.entries[leaf - 1] |= 1 << 7 }
        if leafBit < 64 { one.entries[leaf - 1] ^= 1 << leafBit }
        if upperBit < 64 {
          if isAlone { return nil }
          // A table outside memory is no matter of rules.
          let inside = VerificationArena.addressBits..<setting.features.physicalBits
          if inside.contains(upperBit) { return nil }
          one.entries[above - 1] ^= 1 << upperBit
        }
        return one
      })
  }
}
