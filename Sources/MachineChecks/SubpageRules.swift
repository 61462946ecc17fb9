/// Intel's sub-page write permissions, told a second time: as sets of bits, for comparison with the
/// hardware model, with which this shares no code (SDM volume 3C, "Sub-Page Write Permissions").
///
/// Rules are a value, so that one of them can be spoilt.
struct SubpageRules {
  /// A write that the extended page tables refuse, and what they hold.
  struct Write {
    /// The guest-physical address of the first byte, and how many there are in its page.
    var address: UInt64
    var byteCount: UInt64
    /// Whether the address is that of a guest's table.
    var isTable = false
    /// Whether a linear address led to it.
    var hasLinear = true
    var leaf: UInt64
    var leafDepth: Int
    /// Bits 2:0 that every entry on the way has.
    var rights: UInt64
  }

  /// What the rules say, and by which of them.
  struct Verdict: Hashable {
    enum Ending: Hashable { case granted, violation, miss, misconfiguration }
    var ending: Ending
    var rule: RuleCase
  }

  /// Whether the control is 1.
  var isEnabled: Bool
  /// The address of the topmost table.
  var root: UInt64
  /// The bits that an entry above the vector must not have.
  var reserved: UInt64
  /// The bits that name a table.
  private let frameBits: UInt64
  /// The bits that a vector must not have.
  var odd: UInt64 = 0xAAAA_AAAA_AAAA_AAAA
  /// The bit that a leaf must have.
  var leafBit: UInt64 = 1 << 61
  /// The largest leaf whose bit 61 counts.
  var largestLeaf = 1
  /// Whether the page must be readable.
  var needsReading = true
  /// Whether all entries' rights count, and not the leaf's alone.
  var countsUpperEntries = true
  /// Whether accesses to a guest's tables, and those without a linear address, are left out.
  var leavesTablesOut = true
  var leavesPhysicalOut = true
  /// Whether an entry that is not valid may hold anything.
  var asksValidityFirst = true
  /// Whether a vector has no bit that says it is there.
  var vectorIsAlwaysThere = true
  /// Whether every byte counts, and not the first alone.
  var countsEveryByte = true
  /// Whether a write that goes through makes the leaf dirty.
  var marksDirty = true
  /// The address bits that choose among tables.
  var indexBits: UInt64 = 1 << 48 - 1

  /// The rules on a processor, with the topmost table at an address.
  init(isEnabled: Bool, root: UInt64, physicalBits: UInt64) {
    self.isEnabled = isEnabled
    self.root = root
    reserved = UInt64.max << physicalBits | 0xFFE
    frameBits = ~(UInt64.max << physicalBits | 0xFFF)
  }

  /// What becomes of a write; `entry` reads 8 bytes of host memory.
  func verdict(on write: Write, _ entry: (UInt64) -> UInt64) -> Verdict {
    if let rule = whyNotEligible(write) { return Verdict(ending: .violation, rule: rule) }
    var table = root
    for depth in [4, 3, 2] {
      let word = entry(table + offset(write.address, depth))
      let isValid = word & 1 == 1
      let isMalformed = word & reserved != 0
      if !isValid && (asksValidityFirst || !isMalformed) {
        return Verdict(ending: .miss, rule: .subpageValid)
      }
      if isMalformed { return Verdict(ending: .misconfiguration, rule: .subpageReserved) }
      table = word & frameBits
    }
    let vector = entry(table + offset(write.address, 1))
    if vector & odd != 0 { return Verdict(ending: .misconfiguration, rule: .subpageOdd) }
    if !vectorIsAlwaysThere && vector & 1 == 0 {
      return Verdict(ending: .miss, rule: .subpageVector)
    }
    let first = write.address % 4096 / 128
    let last = (write.address % 4096 + write.byteCount - 1) / 128
    // Two bits for each sub-page: all below the end, less all below the beginning.
    let end = countsEveryByte ? last + 1 : first + 1
    let below = end == 32 ? UInt64.max : 1 << (2 * end) - 1
    let asked = below & ~(1 << (2 * first) - 1) & 0x5555_5555_5555_5555
    guard vector & asked == asked else {
      let isFirst = vector >> (2 * first) & 1 == 0
      return Verdict(
        ending: .violation, rule: isFirst ? .subpageVector : .subpageCrossing)
    }
    return Verdict(ending: .granted, rule: grantingRule(write, vector))
  }

  private func offset(_ address: UInt64, _ depth: Int) -> UInt64 {
    let page = (address & indexBits) / 4096
    return (page >> (9 * UInt64(depth - 1))) % 512 * 8
  }

  /// The rule that leaves a write out, if one does.
  private func whyNotEligible(_ write: Write) -> RuleCase? {
    if !isEnabled { return .subpageControl }
    if write.leaf & leafBit != leafBit { return .subpageLeaf }
    if write.leafDepth > largestLeaf { return .subpageLargeLeaf }
    if write.isTable && leavesTablesOut { return .subpageGuestTables }
    if !write.hasLinear && leavesPhysicalOut { return .subpageWithoutLinear }
    let rights = countsUpperEntries ? write.rights : write.leaf & 7
    if rights & 2 != 0 { return .subpageUpperRights }
    return needsReading && rights & 1 == 0 ? .subpageUnreadable : nil
  }

  /// The rule without which a write that goes through would not.
  private func grantingRule(_ write: Write, _ vector: UInt64) -> RuleCase {
    if write.leaf & 2 != 0 { return .subpageUpperRights }
    return vector & 1 == 0 ? .subpageVector : .subpageIndex
  }
}

extension BrokenRule {
  /// Spoils a rule of sub-page write permissions.
  func spoil(_ rules: inout SubpageRules) {
    switch self {
    case .subpageOdd: rules.odd = 0
    case .subpageReservedLow: rules.reserved &= ~0xFFE
    case .subpageReservedAddress: rules.reserved &= 0xFFF0_0000_0000_0FFE
    case .subpageReservedHigh: rules.reserved &= ~(0xFFF << 52)
    case .subpageLeaf: rules.leafBit = 0
    case .subpageLargeLeaf: rules.largestLeaf = 3
    case .subpageUnreadable: rules.needsReading = false
    case .subpageUpperRights: rules.countsUpperEntries = false
    case .subpageGuestTables: rules.leavesTablesOut = false
    case .subpageWithoutLinear: rules.leavesPhysicalOut = false
    case .subpageValid: rules.asksValidityFirst = false
    case .subpageVector: rules.vectorIsAlwaysThere = false
    case .subpageCrossing: rules.countsEveryByte = false
    case .subpageControl: rules.isEnabled = true
    case .subpageIndex: rules.indexBits = 1 << 47 - 1
    case .subpageDirty: rules.marksDirty = false
    default: break
    }
  }
}
