import PagingUnits

/// One access, as the rules see it.
struct HardwareAccess {
  let kind: AccessKind
  let privilege: Privilege
  /// EFLAGS.AC.
  let alignmentCheck: Bool
  let pkru: UInt32

  var isUser: Bool { privilege == .user }
  var writes: Bool { kind == .write }

  @inline(__always) var holder: PermissionWords.Holder {
    switch privilege {
    case .user: .user
    case .supervisor: alignmentCheck ? .exempt : .supervisor
    case .implicitSupervisor: .supervisor
    }
  }

  /// The right that the access needs.
  @inline(__always) var need: Translation.Usable { Self.need(kind) }

  @inline(__always) static func need(_ kind: AccessKind) -> Translation.Usable {
    switch kind {
    case .read: .read
    case .write: .write
    case .fetch: .fetch
    }
  }
}

/// The permission rules (SDM volume 3A, "Determination of Access Rights", "Protection Keys",
/// "Page-Fault Exceptions").
extension GuestMode {
  /// Whether the mode permits an access, keys apart.
  func permits(
    _ kind: AccessKind, _ holder: PermissionWords.Holder, _ rights: GuestRights
  ) -> Bool {
    // Without paging there are no rules, whatever CR4 says.
    if levels == 0 { return true }
    let isUserPage = rights.contains(.user)
    let isExecutable = rights.contains(.execute) || !noExecute
    if holder == .user {
      guard isUserPage else { return false }
      switch kind {
      case .read: return true
      case .write: return rights.contains(.write)
      case .fetch: return isExecutable
      }
    }
    switch kind {
    case .fetch: return isExecutable && !(smep && isUserPage)
    case .read: return !(smap && isUserPage && holder == .supervisor)
    case .write:
      return !(smap && isUserPage && holder == .supervisor)
        && (rights.contains(.write) || !writeProtect)
    }
  }

  /// What accesses of this privilege may do on a page with these rights and this key.
  @inline(__always)
  func usable(_ access: HardwareAccess, _ rights: GuestRights, key: UInt8) -> Translation.Usable {
    let usable = permissions.usable(access.holder, rights)
    guard protectionKeys && rights.contains(.user) else { return usable }
    return usable.subtracting(keyed(access, key))
  }

  /// What a user page's key takes away.
  private func keyed(_ access: HardwareAccess, _ key: UInt8) -> Translation.Usable {
    let pair = access.pkru &>> (UInt32(key) &* 2)
    if pair & 0b01 != 0 { return [.read, .write] }
    return pair & 0b10 != 0 && (access.isUser || writeProtect) ? .write : []
  }

  /// The error code of an access that a present page with these rights refuses.
  func refusal(_ access: HardwareAccess, _ rights: GuestRights, key: UInt8) -> UInt32 {
    let isKeys =
      protectionKeys && rights.contains(.user) && keyed(access, key).contains(access.need)
    return 1 | (isKeys ? 1 << 5 : 0) | errorCode(access)
  }

  /// The bits of an error code that say what was tried.
  func errorCode(_ access: HardwareAccess) -> UInt32 {
    var code: UInt32 = access.isUser ? 1 << 2 : 0
    if access.writes { code |= 1 << 1 }
    if access.kind == .fetch && (noExecute || smep) { code |= 1 << 4 }
    return code
  }
}
