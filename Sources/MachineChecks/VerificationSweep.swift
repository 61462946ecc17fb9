import PagingUnits

/// A number taken apart into digits of different bases: the index of a case, turned into a case.
struct Digits {
  private var rest: UInt64

  /// The digits of `number`, lowest first.
  init(_ number: UInt64) { rest = number }

  /// The next digit, 0 to `base - 1`.
  mutating func take(_ base: UInt64) -> UInt64 {
    let (quotient, digit) = rest.quotientAndRemainder(dividingBy: base)
    rest = quotient
    return digit
  }

  /// The next digit of base 2, standing at `bit`.
  mutating func flag(_ bit: UInt64) -> UInt64 {
    let digit = rest & 1
    rest >>= 1
    return digit << bit
  }
}

/// A part of a format's space: so many settings, and under each of them so many cases.
///
/// A sweep is data and two functions of an index, so that workers share it without sharing state.
struct VerificationSweep: Sendable {
  /// What varies, in a few words.
  let name: String
  /// Which format.
  let format: VerificationFormat
  /// The number of settings.
  let settings: UInt64
  /// The number of cases under each setting.
  let cases: UInt64
  /// The setting of an index.
  let setting: @Sendable (UInt64) -> VerificationSetting
  /// The case of an index under a setting; `nil` when no rule speaks about it.
  let instance: @Sendable (VerificationSetting, UInt64) -> VerificationCase?

  /// Every sweep of a format; together they are its space.
  static func all(of format: VerificationFormat) -> [VerificationSweep] {
    switch format {
    case .bits32: [.shortRights, .shortBits]
    case .pae: [.rights(format), .bits(format)]
    case .fourLevel, .fiveLevel: [.rights(format), .bits(format), .address(format)]
    case .ept: [.extendedRights, .bits(format)]
    case .npt: [.nestedRights, .bits(format)]
    // It has sweeps of its own kind.
    case .subpages: []
    }
  }

  /// Mixes an index, for the bits that no rule reads.
  static func mix(_ index: UInt64) -> UInt64 {
    var word = (index &+ 0x9E37_79B9_7F4A_7C15) &* 0xBF58_476D_1CE4_E5B9
    word ^= word >> 29
    word &*= 0x94D0_49BB_1331_11EB
    return word ^ (word >> 32)
  }

  /// The entries of a space whose tables all permit everything, down to the leaf's table.
  static func openCase(_ setting: borrowing VerificationSetting) -> VerificationCase {
    var one = VerificationCase()
    for depth in 2...5 { one.entries[depth - 1] = UInt64(depth - 1) << 12 | 0b111 }
    return one
  }

  /// Turns a number below 9 into an access.
  static func access(_ number: UInt64, _ one: inout VerificationCase) {
    one.kind = AccessKind(rawValue: UInt8(number % 3)) ?? .read
    one.privilege = Privilege(rawValue: UInt8(number / 3)) ?? .user
  }
}
