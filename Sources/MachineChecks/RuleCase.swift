import PagingUnits
import X86Paging

/// The rule that decides a case, as a name that a reader can look up in the manuals.
public enum RuleCase: String, Hashable, Sendable, CaseIterable {
  /// An entry is present or not.
  case present = "an entry's present bit"
  /// Bits beyond MAXPHYADDR are reserved.
  case reservedAddress = "reserved address bits beyond MAXPHYADDR"
  /// Bit 63 is reserved without EFER.NXE.
  case reservedNoExecute = "NX reserved while EFER.NXE is 0"
  /// Bit 7 is reserved at levels 4 and 5.
  case reservedPageSize = "PS reserved in an upper entry"
  /// The low address bits of a large page are reserved.
  case reservedLargePage = "reserved bits of a large page"
  /// Any other reserved bit.
  case reservedOther = "other reserved bits"
  /// An EPT entry is writable and not readable.
  case eptWriteOnly = "EPT entry writable and not readable"
  /// An EPT entry is executable and not readable.
  case eptExecuteOnly = "EPT entry execute-only"
  /// An EPT entry has a memory type that does not exist.
  case eptMemoryType = "EPT memory type"
  /// User accesses need the user bit in every entry.
  case userAccumulation = "U accumulated over the levels"
  /// Writes need the write bit in every entry.
  case writeAccumulation = "W accumulated over the levels"
  /// User accesses need user pages.
  case userPage = "user access to a supervisor page"
  /// User writes need writable pages.
  case userWrite = "write to a read-only page"
  /// Supervisor writes respect read-only pages with CR0.WP.
  case writeProtect = "CR0.WP and a supervisor write"
  /// Supervisor writes respect upper entries without the write bit with CR0.WP.
  case writeProtectUpper = "CR0.WP, a supervisor write and W accumulated over the levels"
  /// Fetches need NX to be 0.
  case noExecute = "NX and a fetch"
  /// Supervisor fetches from user pages are refused with CR4.SMEP.
  case executionPrevention = "CR4.SMEP and a supervisor fetch"
  /// Supervisor accesses to user pages are refused with CR4.SMAP.
  case accessPrevention = "CR4.SMAP and a supervisor access"
  /// EFLAGS.AC exempts explicit accesses alone.
  case alignmentCheck = "EFLAGS.AC and CR4.SMAP"
  /// A key disables accesses.
  case keyAccess = "PKRU.AD"
  /// A key disables writes.
  case keyWrite = "PKRU.WD"
  /// How a page's address is put together.
  case pageAddress = "the address of a page"
  /// PSE-36.
  case highFrame = "PSE-36 bits of a 4 MiB page"
  /// The dirty bit.
  case dirty = "the dirty bit"
  /// The accessed bit.
  case accessed = "the accessed bit"
  /// Error codes tell fetches apart.
  case fetchReport = "the fetch bit of an error code"
  /// Addresses must be canonical.
  case canonical = "canonical addresses"
  /// The control of sub-page write permissions.
  case subpageControl = "the control of sub-page write permissions"
  /// Bit 61 of a leaf.
  case subpageLeaf = "bit 61 of the leaf"
  /// Bit 61 of a large page's leaf.
  case subpageLargeLeaf = "bit 61 of a large page"
  /// Accesses to a guest's tables are not judged by sub-pages.
  case subpageGuestTables = "sub-pages and an access to a guest's table"
  /// Accesses without a linear address are not.
  case subpageWithoutLinear = "sub-pages and an access without a linear address"
  /// The rights of all entries count together.
  case subpageUpperRights = "sub-pages and W accumulated over the levels"
  /// What may not be read is not judged by sub-pages.
  case subpageUnreadable = "sub-pages and a page that may not be read"
  /// The valid bit of an upper sub-page-permission entry.
  case subpageValid = "the valid bit of a sub-page-permission entry"
  /// The reserved bits of an upper sub-page-permission entry.
  case subpageReserved = "reserved bits of a sub-page-permission entry"
  /// The odd bits of a vector.
  case subpageOdd = "odd bits of a sub-page vector"
  /// The even bits of a vector.
  case subpageVector = "the first sub-page's bit of a vector"
  /// Every byte counts.
  case subpageCrossing = "a write across sub-pages"
  /// The index into tables.
  case subpageIndex = "the index into sub-page-permission tables"
  /// None of the above.
  case other = "an unnamed rule"
}

extension RuleCase {
  /// The rule that decides where the two answers part.
  ///
  /// The true rules of the setting are consulted, not the spoilt ones.
  init(
    _ setting: VerificationSetting, _ one: VerificationCase, _ ours: VerificationAnswer,
    _ theirs: VerificationAnswer
  ) {
    let rules = setting.rules(breaking: nil)
    if (ours.ending == .nonCanonical) != (theirs.ending == .nonCanonical) {
      self = .canonical
    } else if Self.isReserved(ours.ending) != Self.isReserved(theirs.ending) {
      self = Self.reservedRule(setting, one, rules)
    } else if case .fault(let mine) = ours.ending, case .fault(let other) = theirs.ending,
      mine ^ other == UInt32(PageFaultErrorCode.fetch.rawValue)
    {
      self = .fetchReport
    } else if let key = Self.keyRule(setting, one, ours.ending, theirs.ending) {
      self = key
    } else if case .violation(let mine) = ours.ending, case .violation(let other) = theirs.ending {
      self = (mine ^ other) & 0b001000 != 0 ? .userAccumulation : .writeAccumulation
    } else if ours.ending == .translated && theirs.ending == .translated {
      self = Self.translatedRule(setting, one, rules, ours, theirs)
    } else if Self.isAbsent(ours.ending) != Self.isAbsent(theirs.ending) {
      self = .present
    } else {
      self = Self.permissionRule(setting, one, rules, one.kind)
    }
  }

  private static func isReserved(_ ending: VerificationAnswer.Ending) -> Bool {
    switch ending {
    case .misconfiguration: true
    case .fault(let code): code & UInt32(PageFaultErrorCode.reserved.rawValue) != 0
    default: false
    }
  }

  private static func isAbsent(_ ending: VerificationAnswer.Ending) -> Bool {
    guard case .fault(let code) = ending else { return false }
    return code & 1 == 0
  }

  /// The bit of the page's key that one side alone heeds; `nil` when the codes do not say so.
  private static func keyRule(
    _ setting: VerificationSetting, _ one: VerificationCase,
    _ ours: VerificationAnswer.Ending, _ theirs: VerificationAnswer.Ending
  ) -> RuleCase? {
    func isKeyed(_ ending: VerificationAnswer.Ending) -> Bool {
      guard case .fault(let code) = ending else { return false }
      return code & UInt32(PageFaultErrorCode.protectionKey.rawValue) != 0
    }
    guard isKeyed(ours) != isKeyed(theirs) else { return nil }
    let depths = way(setting, one, setting.rules(breaking: nil))
    let leaf = one.entries[(depths.last ?? 1) - 1]
    let key = GuestEntryLayout.protectionKey.value(in: leaf)
    return one.pkru >> UInt32(2 * key) & 1 != 0 ? .keyAccess : .keyWrite
  }

  /// The levels on the way, from the top down to the leaf.
  private static func way(
    _ setting: VerificationSetting, _ one: VerificationCase, _ rules: WalkRules
  ) -> [Int] {
    var depths: [Int] = []
    for depth in stride(from: setting.rootDepth, through: 1, by: -1) {
      depths.append(depth)
      if depth > 1 && one.entries[depth - 1] & rules.format.pageSizeBit != 0 && depth <= 3 { break }
    }
    return depths
  }

  private static func reservedRule(
    _ setting: VerificationSetting, _ one: VerificationCase, _ rules: WalkRules
  ) -> RuleCase {
    for depth in way(setting, one, rules) {
      let word = one.entries[depth - 1]
      guard rules.reserved.isViolated(by: word, at: depth) else { continue }
      let reserved = word & rules.reserved[Int(word >> 7 & 1), Level(depth)]
      if setting.format == .ept && rules.reserved.badLowBits >> (word & 63) & 1 != 0 {
        if word & 0b11 == 0b10 { return .eptWriteOnly }
        let type = word >> 3 & 7
        if type == 2 || type == 3 || type == 7 { return .eptMemoryType }
        return .eptExecuteOnly
      }
      if depth >= 4 && reserved & 1 << 7 != 0 { return .reservedPageSize }
      if reserved & (~0 << setting.features.physicalBits) & ~(1 << 63) != 0 {
        return .reservedAddress
      }
      if reserved & 1 << 63 != 0 { return .reservedNoExecute }
      if reserved & 0x3FFF_F000 != 0 { return .reservedLargePage }
      return .reservedOther
    }
    return .reservedOther
  }

  private static func translatedRule(
    _ setting: VerificationSetting, _ one: VerificationCase, _ rules: WalkRules,
    _ ours: VerificationAnswer, _ theirs: VerificationAnswer
  ) -> RuleCase {
    if ours.address != theirs.address {
      return setting.format == .bits32 && (ours.address ^ theirs.address) >> 32 != 0
        ? .highFrame : .pageAddress
    }
    for index in 0..<5 {
      let difference = ours.entries[index] ^ theirs.entries[index]
      if difference == 0 { continue }
      let dirty: UInt64 = setting.format == .ept ? 1 << 9 : 1 << 6
      return difference & dirty != 0 ? .dirty : .accessed
    }
    let difference = ours.usable ^ theirs.usable
    for kind in AccessKind.allCases where difference & 1 << kind.rawValue != 0 {
      return permissionRule(setting, one, rules, kind)
    }
    return .other
  }

  /// The rule by which the page's rights, or its key, refuse the access.
  private static func permissionRule(
    _ setting: VerificationSetting, _ one: VerificationCase, _ rules: WalkRules, _ kind: AccessKind
  ) -> RuleCase {
    let depths = way(setting, one, rules)
    var gathered = UInt64.max
    for depth in depths { gathered &= rules.format.contribution(of: one.entries[depth - 1]) }
    let leaf = one.entries[(depths.last ?? 1) - 1]
    let rights = rules.format.rights(gathered)
    let own = rules.format.rights(rules.format.contribution(of: leaf))
    let privilege = setting.format.isSecondDimension ? Privilege.user : one.privilege
    let controls = WalkRules.controls(setting.registers, PagingMode(setting.registers))

    let needsUser = setting.format == .ept ? kind == .read : privilege == .user
    if needsUser && !rights.contains(.user) {
      return own.contains(.user) ? .userAccumulation : .userPage
    }
    if kind == .write && !rights.contains(.write) {
      let isUpper = own.contains(.write)
      if privilege == .user { return isUpper ? .writeAccumulation : .userWrite }
      if controls.contains(.writeProtect) { return isUpper ? .writeProtectUpper : .writeProtect }
    }
    if kind == .fetch && !rights.contains(.execute) { return .noExecute }
    if privilege != .user && rights.contains(.user) {
      if kind == .fetch && controls.contains(.executionPrevention) { return .executionPrevention }
      if kind != .fetch && controls.contains(.accessPrevention) {
        if !setting.registers.ac { return .accessPrevention }
        if privilege == .implicitSupervisor { return .alignmentCheck }
      }
    }
    if controls.contains(.protectionKeys) && rights.contains(.user) && kind != .fetch {
      let key = GuestEntryLayout.protectionKey.value(in: leaf)
      let bits = one.pkru >> UInt32(2 * key) & 3
      if bits & 1 != 0 { return .keyAccess }
      if bits & 2 != 0 && kind == .write { return .keyWrite }
    }
    let dirty: UInt64 = setting.format == .ept ? 1 << 9 : 1 << 6
    if kind == .write && leaf & dirty == 0 { return .dirty }
    return own.contains(.user) && !rights.contains(.user) ? .userAccumulation : .other
  }
}
