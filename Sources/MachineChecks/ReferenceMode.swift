import PagingUnits
import VirtualMachine

/// What the entries of a walk grant together, as the reference adds it up.
struct ReferenceRights: Hashable, Sendable {
  var isWritable = true
  var isUser = true
  var isNoExecute = false

  /// These rights, narrowed by one more entry; bit 63 of a 4-byte entry is clear.
  func narrowed(by entry: UInt64) -> ReferenceRights {
    ReferenceRights(
      isWritable: isWritable && entry & 2 != 0, isUser: isUser && entry & 4 != 0,
      isNoExecute: isNoExecute || entry >> 63 == 1)
  }
}

/// The paging mode of the guest and its rules, written down from the manual a third time (SDM
/// volume 3A, "Paging Modes and Control Bits", "Access Rights", "Protection Keys").
struct ReferenceMode {
  let registers: ControlRegisters
  /// 0 with paging off, else 2, 3, 4 or 5.
  let levels: Int
  let physicalBits: UInt64
  let isAMD: Bool
  let hasGigabytePages: Bool

  init(_ registers: ControlRegisters, _ configuration: MachineConfiguration) {
    self.registers = registers
    physicalBits = UInt64(configuration.guestPhysicalBits)
    isAMD = configuration.vendor == .amd
    hasGigabytePages = configuration.gigabytePages == .present
    let (isPaging, isPAE) = (registers.cr0 >> 31 & 1 == 1, registers.cr4 >> 5 & 1 == 1)
    let (isLong, isLA57) = (registers.efer >> 10 & 1 == 1, registers.cr4 >> 12 & 1 == 1)
    levels = !isPaging ? 0 : !isPAE ? 2 : !isLong ? 3 : isLA57 ? 5 : 4
  }

  var isNXEnabled: Bool { levels >= 3 && registers.efer >> 11 & 1 == 1 }
  var is64Bit: Bool { levels >= 4 }
  private func cr4(_ bit: UInt64) -> Bool { registers.cr4 >> bit & 1 == 1 }
  var hasLargePages32: Bool { cr4(4) }
  var hasGlobalPages: Bool { cr4(7) }
  private var isWriteProtected: Bool { registers.cr0 >> 16 & 1 == 1 }

  /// What translations are told apart by besides their address: the PCID and the mode.
  var pcid: UInt16 { cr4(17) ? UInt16(truncatingIfNeeded: registers.cr3 & 0xFFF) : 0 }
  var kind: UInt16 { UInt16(levels) << 2 | (isNXEnabled ? 2 : 0) | (hasLargePages32 ? 1 : 0) }

  /// The address as far as it is translated; `nil` when it is not canonical.
  func linear(_ address: UInt64) -> UInt64? {
    guard is64Bit else { return address & 0xFFFF_FFFF }
    let top = Int64(bitPattern: address) >> (levels == 5 ? 56 : 47)
    return top == 0 || top == -1 ? address : nil
  }

  /// The number of address bits below an entry of a level.
  func shift(_ depth: Int) -> UInt64 { UInt64(12 + (levels == 2 ? 10 : 9) * (depth - 1)) }

  var entryByteCount: UInt64 { levels == 2 ? 4 : 8 }

  /// Where in its table the entry for an address stands, in bytes.
  func entryOffset(_ linear: UInt64, _ depth: Int) -> UInt64 {
    (linear >> shift(depth)) & (levels == 2 ? 0x3FF : 0x1FF) * entryByteCount
  }

  func isPage(_ entry: UInt64, _ depth: Int) -> Bool {
    if depth == 1 { return true }
    if levels == 2 && !hasLargePages32 { return false }
    return depth <= 3 && entry >> 7 & 1 == 1
  }

  /// Whether a present entry has a bit that must be 0.
  func isMalformed(_ entry: UInt64, _ depth: Int) -> Bool {
    let isPage = isPage(entry, depth)
    if levels == 2 {
      guard depth == 2 && isPage else { return false }
      // Bits 20:13 are address bits 39:32, as far as there are any; bit 21 is none.
      let addressBits = min(physicalBits, 40) - 32
      return entry >> (13 + addressBits) & (1 << (9 - addressBits) - 1) != 0
    }
    let address = entry & 0x000F_FFFF_FFFF_FFFF
    if address >> physicalBits != 0 { return true }
    if entry >> 63 == 1 && !isNXEnabled { return true }
    if levels == 3 && entry >> 52 & 0x7FF != 0 { return true }
    if depth >= 4 { return entry >> 7 & 1 == 1 || (isAMD && entry >> 8 & 1 == 1) }
    guard isPage && depth > 1 else { return false }
    if depth == 3 && !hasGigabytePages { return true }
    // Between the PAT bit, 12, and the page's own address.
    return entry >> 13 & (1 << (shift(depth) - 13) - 1) != 0
  }

  /// Whether a PDPTE that is read from memory has a bit that must be 0 (APM volume 2, "Page
  /// Directory Pointer Entry", legacy PAE).
  func isMalformedPDPTE(_ entry: UInt64) -> Bool {
    entry & 0x1E6 != 0 || (entry & 0x000F_FFFF_FFFF_FFFF) >> physicalBits != 0 || entry >> 52 != 0
  }

  /// The first guest-physical byte of the page that a leaf maps.
  func page(_ entry: UInt64, _ depth: Int) -> UInt64 {
    if levels == 2 {
      if depth == 1 { return entry & 0xFFFF_F000 }
      return (entry >> 13 & 0xFF) << 32 | entry & 0xFFC0_0000
    }
    return entry & 0x000F_FFFF_FFFF_FFFF & ~(1 << shift(depth) - 1)
  }

  func table(_ entry: UInt64) -> UInt64 { entry & (levels == 2 ? 0xFFFF_F000 : 0xF_FFFF_FFFF_F000) }

  // MARK: Permission

  /// The error code of the page fault that an access to a present page gets; `nil` when it is
  /// permitted.
  func refusal(
    _ kind: AccessKind, _ privilege: Privilege, _ rights: ReferenceRights, key: UInt8
  ) -> UInt32? {
    if levels == 0 { return nil }
    let isUserAccess = privilege == .user
    let mayNotExecute = isNXEnabled && rights.isNoExecute
    let isOffLimits =
      cr4(21) && rights.isUser && (privilege == .implicitSupervisor || !registers.ac)
    let isRefused: Bool
    switch (kind, isUserAccess) {
    case (.read, true): isRefused = !rights.isUser
    case (.write, true): isRefused = !rights.isUser || !rights.isWritable
    case (.fetch, true): isRefused = !rights.isUser || mayNotExecute
    case (.read, false): isRefused = isOffLimits
    case (.write, false):
      isRefused = isOffLimits || (isWriteProtected && !rights.isWritable)
    case (.fetch, false): isRefused = mayNotExecute || (cr4(20) && rights.isUser)
    }
    let isLocked = isLocked(kind, isUserAccess, rights, key)
    guard isRefused || isLocked else { return nil }
    return code(kind, privilege, 1 | (isLocked ? 32 : 0))
  }

  /// Whether the page's protection key stops the access.
  private func isLocked(
    _ kind: AccessKind, _ isUserAccess: Bool, _ rights: ReferenceRights, _ key: UInt8
  ) -> Bool {
    guard is64Bit && cr4(22) && rights.isUser && kind != .fetch else { return false }
    let disables = registers.pkru >> (2 * UInt32(key))
    if disables & 1 == 1 { return true }
    return disables & 2 == 2 && kind == .write && (isUserAccess || isWriteProtected)
  }

  /// An error code: what was tried, and the bits that say why it was refused.
  func code(_ kind: AccessKind, _ privilege: Privilege, _ why: UInt32) -> UInt32 {
    var code = why
    if kind == .write { code |= 2 }
    if privilege == .user { code |= 4 }
    if kind == .fetch && (isNXEnabled || cr4(20)) { code |= 16 }
    return code
  }
}
