import PagingUnits
import X86Paging

extension VerificationSweep {
  /// The ten low bits of an EPT leaf and the nine of an upper entry in every combination.
  static let extendedRights = VerificationSweep(
    name: "rights", format: .ept, settings: 3 * 2 * 2 * 2, cases: 1024 * 512 * 3,
    setting: { index in
      var digits = Digits(index)
      let leaf = 1 + Int(digits.take(3))
      var setting = VerificationSetting(.ept, levels: digits.take(2) == 0 ? 4 : 5)
      setting.leafDepth = leaf
      setting.features.hasExecuteOnly = digits.take(2) == 1
      setting.secondRoot |= digits.flag(6)
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      let noise = mix(index)
      let leaf = setting.leafDepth
      var one = openCase(setting)
      one.kind = AccessKind(rawValue: UInt8(digits.take(3))) ?? .read
      one.entries[leaf - 1] = digits.take(1024) | noise & 0xFFF0_0000_0000_0C00
      if leaf == 1 { one.entries[0] |= noise & 0x3F_FFFF_F000 }
      let above = noise & 1 << 40 != 0 ? setting.rootDepth : leaf + 1
      let upper = digits.take(512) | noise >> 4 & 0xFFF0_0000_0000_0E00
      one.entries[above - 1] = upper | UInt64(above - 1) << 12
      return one
    })

  /// The bits of an NPT leaf and of an upper entry in every combination.
  static let nestedRights = VerificationSweep(
    name: "rights", format: .npt, settings: 3 * 2, cases: 256 * 128 * 3 * 4,
    setting: { index in
      var digits = Digits(index)
      let leaf = 1 + Int(digits.take(3))
      var setting = VerificationSetting(.npt, levels: digits.take(2) == 0 ? 4 : 5)
      setting.leafDepth = leaf
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      let noise = mix(index)
      let leaf = setting.leafDepth
      var one = openCase(setting)
      one.kind = AccessKind(rawValue: UInt8(digits.take(3))) ?? .read
      var word: UInt64 = 0
      var upper: UInt64 = 0
      word |= digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5)
      word |= digits.flag(6) | digits.flag(7) | digits.flag(8) | digits.flag(63)
      upper |= digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5)
      upper |= digits.flag(7) | digits.flag(8) | digits.flag(63)
      if leaf == 1 { word |= noise & 0x3F_FFFF_F000 }
      one.entries[leaf - 1] = word | noise & 0x7FF0_0000_0000_0E18
      let above = leaf + 1 + Int(digits.take(4))
      guard above <= setting.rootDepth else { return nil }
      upper |= noise >> 3 & 0x7FF0_0000_0000_0E58
      one.entries[above - 1] = upper | UInt64(above - 1) << 12
      return one
    })
}
