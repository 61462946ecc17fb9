/// How a guest of the fuzzer translates, and how its tables look.
enum PagingShape: Int, Hashable, Sendable, CaseIterable {
  /// No paging.
  case none
  /// 32-bit paging without 4 MiB pages.
  case narrow
  /// 32-bit paging with 4 MiB pages.
  case narrowLarge
  /// PAE paging.
  case extended
  /// 4-level paging.
  case fourLevels
  /// 5-level paging.
  case fiveLevels

  /// The depth of the root table; 0 without paging.
  var depth: Int {
    switch self {
    case .none: 0
    case .narrow, .narrowLarge: 2
    case .extended: 3
    case .fourLevels: 4
    case .fiveLevels: 5
    }
  }

  /// Whether an entry has 4 bytes, not 8.
  var isNarrow: Bool { self == .narrow || self == .narrowLarge }
  /// Whether linear addresses have 64 bits.
  var isLong: Bool { self == .fourLevels || self == .fiveLevels }
  /// The bytes of an entry.
  var entryBytes: UInt64 { isNarrow ? 4 : 8 }

  /// The number of entries of a table of this depth.
  func entryCount(_ depth: Int) -> UInt64 {
    isNarrow ? 1024 : self == .extended && depth == 3 ? 4 : 512
  }

  /// The first linear-address bit that a table of this depth translates.
  func shift(_ depth: Int) -> UInt64 {
    isNarrow ? UInt64(12 + 10 * (depth - 1)) : UInt64(12 + 9 * (depth - 1))
  }

  /// Whether an entry of this depth may map a page.
  func hasPages(_ depth: Int, gigabytes: Bool) -> Bool {
    switch depth {
    case 1: true
    case 2: self != .narrow
    case 3: isLong && gigabytes
    default: false
    }
  }

  /// A linear address with its upper bits as the highest translated one.
  func canonical(_ linear: UInt64) -> UInt64 {
    guard isLong else { return linear & 0xFFFF_FFFF }
    let unused: UInt64 = self == .fiveLevels ? 7 : 16
    return UInt64(bitPattern: Int64(bitPattern: linear << unused) >> Int64(unused))
  }

  /// The shape that control registers select.
  init(cr0: UInt64, cr4: UInt64, efer: UInt64) {
    if cr0 >> 31 & 1 == 0 {
      self = .none
    } else if cr4 >> 5 & 1 == 0 {
      self = cr4 >> 4 & 1 == 1 ? .narrowLarge : .narrow
    } else if efer >> 8 & 1 == 0 {
      self = .extended
    } else {
      self = cr4 >> 12 & 1 == 1 ? .fiveLevels : .fourLevels
    }
  }
}
