import PagingUnits
import X86Paging

/// An address bit that some processors have and others do not.
private let farBit: UInt64 = 1 << 45

extension VerificationSweep {
  /// Everything that rights depend on, for 8-byte entries: the bits of a leaf and of an upper
  /// entry, the control bits, the page's key, the access, and an address that lies inside or
  /// outside MAXPHYADDR.
  static func rights(_ format: VerificationFormat) -> VerificationSweep {
    VerificationSweep(
      name: "rights", format: format, settings: 64 * 2 * 2, cases: 64 * 32 * 4 * 9,
      setting: { index in
        var digits = Digits(index)
        var setting = VerificationSetting(format)
        setControls(&setting, &digits)
        setting.leafDepth = digits.take(2) == 0 ? 1 : 2
        setting.features.physicalBits = digits.take(2) == 0 ? 46 : 40
        return setting
      },
      instance: { setting, index in
        var digits = Digits(index)
        let noise = mix(index)
        let isPAE = setting.format == .pae
        var one = openCase(setting)
        access(digits.take(9), &one)
        var leaf = digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5)
        leaf |= digits.flag(6) | digits.flag(63) | farBit
        var upper = digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5)
        upper |= digits.flag(63)
        leaf |= noise & 0xF18
        upper |= noise >> 12 & 0xF58
        if setting.leafDepth == 1 {
          leaf |= noise & 0x1234_5080 | 0x7_0000
        } else {
          leaf |= 1 << 7 | noise & 0x1220_1000
        }
        let keyRights = UInt32(digits.take(4))
        if !isPAE {
          leaf |= noise & 0x7F << 52
          upper |= noise >> 1 & 0x7FF << 52
          leaf |= (noise >> 32 & 15) << 59
        }
        let key = UInt32(isPAE ? noise >> 32 & 15 : leaf >> 59 & 15)
        one.pkru = UInt32(truncatingIfNeeded: noise >> 7) & ~(3 << (2 * key))
        one.pkru |= keyRights << (2 * key)
        one.entries[setting.leafDepth - 1] = leaf
        // The topmost entry over small pages, the one just above over large pages.
        let above = setting.leafDepth == 1 || isPAE ? setting.rootDepth : setting.leafDepth + 1
        if above > setting.leafDepth {
          one.entries[above - 1] = upper | UInt64(above - 1) << 12
        }
        return one
      })
  }

  /// The same for the 4-byte entries of 32-bit paging, with the address bits of 4 MiB pages.
  static let shortRights = VerificationSweep(
    name: "rights", format: .bits32, settings: 64 * 2 * 2, cases: 32 * 32 * 4 * 9,
    setting: { index in
      var digits = Digits(index)
      var setting = VerificationSetting(.bits32)
      setControls(&setting, &digits)
      setting.registers.cr4 |= digits.flag(4)
      setting.leafDepth = digits.take(2) == 0 ? 1 : 2
      setting.features.physicalBits = 36
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      let noise = mix(index)
      var one = openCase(setting)
      access(digits.take(9), &one)
      var leaf: UInt64 = 0
      var upper: UInt64 = 0
      leaf |= digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5) | digits.flag(6)
      upper |= digits.flag(0) | digits.flag(1) | digits.flag(2) | digits.flag(5) | digits.flag(6)
      leaf |= noise & 0x1234_5F98
      upper |= noise >> 12 & 0xF18
      let variant = digits.take(4)
      if setting.leafDepth == 2 {
        upper |= 1 << 7
        if setting.registers.cr4 & 1 << 4 != 0 {
          upper |= noise & 0xFFC0_0000
          switch variant {
          case 1: upper |= noise & 0x1E000
          case 2: upper |= 1 << (13 + noise % 9)
          case 3: upper |= 1 << 12
          default: break
          }
        } else {
          upper |= 1 << 12
        }
      } else {
        upper |= 1 << 12
        leaf ^= variant << 20
      }
      one.entries[0] = leaf
      one.entries[1] = upper
      one.pkru = UInt32(truncatingIfNeeded: noise)
      return one
    })

  /// Every pair of single bits turned in a leaf and in an upper 4-byte entry.
  static let shortBits = VerificationSweep(
    name: "pairs of bits", format: .bits32, settings: 4 * 2 * 4 * 2, cases: 33 * 33 * 9,
    setting: { index in
      var digits = Digits(index)
      var setting = VerificationSetting(.bits32)
      setting.features.physicalBits = [32, 36, 40, 52][Int(digits.take(4))]
      setting.registers.cr4 |= digits.flag(4)
      setting.registers.cr0 |= digits.flag(16)
      setting.registers.efer |= digits.flag(11)
      setting.leafDepth = digits.take(2) == 0 ? 1 : 2
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      var one = openCase(setting)
      access(digits.take(9), &one)
      let leafBit = digits.take(33)
      let upperBit = digits.take(33)
      one.entries[0] = 0x67
      one.entries[1] = setting.leafDepth == 2 ? 0xE7 : 0x1067
      if leafBit < 32 { one.entries[0] ^= 1 << leafBit }
      if upperBit < 32 { one.entries[1] ^= 1 << upperBit }
      let hasLargePages = CR4Layout.pageSizeExtensions.isSet(in: setting.registers.cr4)
      let isPage = hasLargePages && one.entries[1] & 1 << 7 != 0
      // A table outside memory is no matter of rules.
      guard isPage || one.entries[1] < 1 << VerificationArena.addressBits else { return nil }
      return one
    })

  /// The sixteen upper bits of an address in every combination.
  static func address(_ format: VerificationFormat) -> VerificationSweep {
    VerificationSweep(
      name: "canonical addresses", format: format, settings: 1 << 17, cases: 3,
      setting: { index in
        var setting = VerificationSetting(format)
        setting.address = setting.address & (1 << 47 - 1) | index << 47
        return setting
      },
      instance: { setting, index in
        var one = openCase(setting)
        one.kind = AccessKind(rawValue: UInt8(index)) ?? .read
        one.entries[0] = 0x5_0007
        return one
      })
  }

  /// WP, NXE, SMEP, SMAP, AC and PKE from six digits.
  private static func setControls(_ setting: inout VerificationSetting, _ digits: inout Digits) {
    setting.registers.cr0 |= digits.flag(16)
    setting.registers.efer |= digits.flag(11)
    setting.registers.cr4 |= digits.flag(20) | digits.flag(21)
    setting.registers.ac = digits.take(2) == 1
    setting.registers.cr4 |= digits.flag(22)
  }
}
