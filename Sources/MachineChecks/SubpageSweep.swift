import HardwareModel
import PagingUnits
import X86Paging

/// What stays the same while the cases of sub-page write permissions vary.
struct SubpageSetting {
  /// What a sweep tells its settings apart by.
  var number: UInt64 = 0
  var physicalBits: UInt64 = 46
  var levels = 4
  /// Whether EPT has accessed and dirty bits.
  var hasMarks = false
  var hasExecuteOnly = true
  var isEnabled = true
  var use = SubpageRequest.Use.linear

  /// The tables of EPT lie in the frames of their depths, those of sub-pages four above and more.
  var pointer: UInt64 { 9 << 12 }
  var extendedRoot: UInt64 {
    UInt64(levels) << 12 | UInt64(levels - 1) << 3 | 6 | (hasMarks ? 1 << 6 : 0)
  }

  /// The page that is accessed; what a processor without paging can name.
  static let page: UInt64 = 2 << 30 | 3 << 21 | 5 << 12
  /// The frame behind it.
  static let frame: UInt64 = 10

  /// The features of either side's processor.
  var processorFeatures: ProcessorFeatures {
    var answer = ProcessorFeatures()
    answer.physicalBits = physicalBits
    answer.hasExecuteOnly = hasExecuteOnly
    answer.translationSets = 0
    answer.keepsWalks = false
    return answer
  }

  var pagingFeatures: PagingFeatures {
    var answer = PagingFeatures(physicalBits: physicalBits)
    answer.hasExecuteOnly = hasExecuteOnly
    return answer
  }
}

/// One access to a page that sub-pages may guard.
struct SubpageCase {
  /// The entries of the extended page tables, by depth - 1.
  var extended = InlineArray<5, UInt64>(repeating: 0)
  var leafDepth = 1
  /// The entries of the sub-page-permission tables, by depth - 1.
  var entries = InlineArray<4, UInt64>(repeating: 0)
  var kind = AccessKind.write
  /// The first byte in the page, and how many.
  var offset: UInt64 = 0
  var byteCount: UInt64 = 1
  /// Where it is not 0: an address that both sides look up in tables without end.
  var looseAddress: UInt64 = 0

  /// A write to a guarded page with every table in its place.
  init() {
    for depth in 2...5 { extended[depth - 1] = UInt64(depth - 1) << 12 | 7 }
    extended[0] = SubpageSetting.frame << 12 | 0x35 | 1 << 61
    for depth in 2...4 { entries[depth - 1] = UInt64(4 + depth) << 12 | 1 }
  }
}

/// A part of the space of sub-page write permissions.
struct SubpageSweep: Sendable {
  let name: String
  let settings: UInt64
  let cases: UInt64
  let setting: @Sendable (UInt64) -> SubpageSetting
  /// The case of an index under a setting; `nil` when no rule speaks about it.
  let instance: @Sendable (SubpageSetting, UInt64) -> SubpageCase?

  static var all: [SubpageSweep] { [.eligibility, .tables, .bytes, .addresses] }

  /// Who is judged: rights of leaf and upper entry, bit 61, page size, kind and use of the access.
  private static let eligibility = SubpageSweep(
    name: "who is judged", settings: 3 * 2 * 2 * 2 * 2,
    cases: 8 * 2 * 3 * 5 * 8 * 3 * 4 * 2 * 2,
    setting: { number in
      var digits = Digits(number)
      var setting = SubpageSetting()
      setting.use = SubpageRequest.Use.allCases[Int(digits.take(3))]
      setting.isEnabled = digits.take(2) == 0
      setting.hasMarks = digits.take(2) == 1
      setting.hasExecuteOnly = digits.take(2) == 0
      setting.levels = 4 + Int(digits.take(2))
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      var one = SubpageCase()
      let rights = digits.take(8)
      let guardBit = digits.flag(61)
      one.leafDepth = 1 + Int(digits.take(3))
      let upper = 1 + Int(digits.take(5))
      let upperRights = digits.take(8)
      one.kind = AccessKind(rawValue: UInt8(digits.take(3))) ?? .read
      one.entries[0] = [0, 1, 0x5555_5555_5555_5555, 0x5555_5555_5555_5554][Int(digits.take(4))]
      one.offset = digits.flag(7)
      if digits.take(2) == 1 { one.entries[3] = 0 }
      // A guest's table is a small page's, and its walk reads it, whatever the access.
      if setting.use == .table && (one.leafDepth > 1 || one.kind != .read) { return nil }
      let frame = one.leafDepth == 1 ? SubpageSetting.frame << 12 : 1 << 7
      one.extended[one.leafDepth - 1] = frame | 0x30 | rights | guardBit
      if upper > one.leafDepth && upper <= setting.levels {
        one.extended[upper - 1] = one.extended[upper - 1] & ~7 | upperRights
      } else if upperRights != 7 {
        return nil
      }
      return one
    })

  /// What tables must look like: two bits of any entry, above or below one that is not valid.
  private static let tables = SubpageSweep(
    name: "tables", settings: 3 * 5, cases: 4 * 2 * 64 * 64,
    setting: { number in
      var digits = Digits(number)
      var setting = SubpageSetting()
      setting.physicalBits = [36, 46, 52][Int(digits.take(3))]
      setting.number = digits.take(5)
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      var one = SubpageCase()
      let depth = Int(digits.take(4))
      one.entries[0] = digits.take(2) == 0 ? 0x5555_5555_5555_5555 : 0
      if setting.number > 0 { one.entries[Int(setting.number) - 1] ^= 1 }
      one.entries[depth] ^= 1 << digits.take(64)
      one.entries[depth] ^= 1 << digits.take(64)
      return one
    })

  /// Which bytes: every offset, of sizes from a byte to a page, against vectors with one bit set,
  /// with one bit clear, and with any.
  private static let bytes = SubpageSweep(
    name: "bytes", settings: 80, cases: 4096 * 10,
    setting: { number in
      var setting = SubpageSetting()
      setting.number = number
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      var one = SubpageCase()
      let all: UInt64 = 0x5555_5555_5555_5555
      switch setting.number {
      case 0..<32: one.entries[0] = 1 << (2 * setting.number)
      case 32..<64: one.entries[0] = all & ~(1 << (2 * (setting.number - 32)))
      default: one.entries[0] = all & VerificationSweep.mix(setting.number)
      }
      one.offset = digits.take(4096)
      one.byteCount = [1, 2, 4, 8, 10, 16, 32, 64, 512, 4096][Int(digits.take(10))]
      return one.offset + one.byteCount > 4096 ? nil : one
    })

  /// Which entries: addresses of 52 bits, two of them flipped.
  private static let addresses = SubpageSweep(
    name: "addresses", settings: 16, cases: 52 * 52,
    setting: { number in
      var setting = SubpageSetting()
      setting.number = number
      return setting
    },
    instance: { setting, index in
      var digits = Digits(index)
      var one = SubpageCase()
      let base = VerificationSweep.mix(setting.number) & (1 << 52 - 1)
      one.looseAddress = base ^ 1 << digits.take(52) ^ 1 << digits.take(52)
      return one
    })
}
