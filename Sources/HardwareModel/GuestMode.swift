import PagingUnits

/// The guest's paging mode and rules, read from its registers (SDM Vol. 3A, "Paging Modes and
/// Control Bits").
struct GuestMode {
  /// The number of levels: 0 with paging off, 2, 3, 4 or 5.
  let levels: Int
  let noExecute: Bool
  let writeProtect: Bool
  let smep: Bool
  let smap: Bool
  let protectionKeys: Bool
  let pageSizeExtension: Bool
  let globalPages: Bool

  init(_ registers: borrowing ControlRegisters) {
    let (cr0, cr4, efer) = (registers.cr0, registers.cr4, registers.efer)
    let isLong = efer & 1 << 10 != 0
    if cr0 & 1 << 31 == 0 {
      levels = 0
    } else if cr4 & 1 << 5 == 0 {
      levels = 2
    } else if !isLong {
      levels = 3
    } else {
      levels = cr4 & 1 << 12 != 0 ? 5 : 4
    }
    // 32-bit entries have no bit for it, whatever EFER says.
    noExecute = efer & 1 << 11 != 0 && levels >= 3
    writeProtect = cr0 & 1 << 16 != 0
    smep = cr4 & 1 << 20 != 0
    smap = cr4 & 1 << 21 != 0
    protectionKeys = cr4 & 1 << 22 != 0 && levels >= 4
    pageSizeExtension = cr4 & 1 << 4 != 0
    globalPages = cr4 & 1 << 7 != 0
  }

  /// What tells translations of one mode from those of another.
  var digest: UInt16 {
    UInt16(levels) | (noExecute ? 8 : 0) | (pageSizeExtension ? 16 : 0)
  }

  /// Whether 64-bit addresses are in use and this one is not canonical.
  func isNonCanonical(_ address: UInt64) -> Bool {
    guard levels >= 4 else { return false }
    let unused: UInt64 = levels == 5 ? 7 : 16
    return UInt64(bitPattern: Int64(bitPattern: address << unused) >> Int64(unused)) != address
  }
}

/// One access, as the rules see it.
struct HardwareAccess {
  let kind: AccessKind
  let privilege: Privilege
  /// EFLAGS.AC.
  let alignmentCheck: Bool
  let pkru: UInt32

  var isUser: Bool { privilege == .user }
}

/// What the entries of a walk say together.
struct GuestRights {
  var write = true
  var user = true
  var execute = true
  var key: UInt32 = 0
  var dirty = false
  var global = false
}

/// The permission rules (SDM Vol. 3A, "Determination of Access Rights", "Protection Keys",
/// "Page-Fault Exceptions").
extension GuestMode {
  /// The error code of the fault that this access takes on a page with these rights; `nil` for
  /// none.
  func refusal(_ access: HardwareAccess, _ rights: GuestRights) -> UInt32? {
    let key = protectionKeys && keyRefuses(access, rights)
    guard key || modeRefuses(access, rights) else { return nil }
    return 1 | (key ? 1 << 5 : 0) | errorCode(access)
  }

  /// The bits of an error code that say what was tried.
  func errorCode(_ access: HardwareAccess) -> UInt32 {
    var code: UInt32 = access.isUser ? 1 << 2 : 0
    if access.kind == .write { code |= 1 << 1 }
    if access.kind == .fetch && (noExecute || smep) { code |= 1 << 4 }
    return code
  }

  private func modeRefuses(_ access: HardwareAccess, _ rights: GuestRights) -> Bool {
    if access.isUser {
      guard rights.user else { return true }
      switch access.kind {
      case .read: return false
      case .write: return !rights.write
      case .fetch: return noExecute && !rights.execute
      }
    }
    switch access.kind {
    case .fetch: return (smep && rights.user) || (noExecute && !rights.execute)
    case .read: return smapRefuses(access, rights)
    case .write: return smapRefuses(access, rights) || (writeProtect && !rights.write)
    }
  }

  private func smapRefuses(_ access: HardwareAccess, _ rights: GuestRights) -> Bool {
    guard smap && rights.user else { return false }
    return access.privilege == .implicitSupervisor || !access.alignmentCheck
  }

  private func keyRefuses(_ access: HardwareAccess, _ rights: GuestRights) -> Bool {
    guard rights.user && access.kind != .fetch else { return false }
    let pair = (access.pkru >> (rights.key * 2)) & 0b11
    if pair & 0b01 != 0 { return true }
    return pair & 0b10 != 0 && access.kind == .write && (access.isUser || writeProtect)
  }
}
