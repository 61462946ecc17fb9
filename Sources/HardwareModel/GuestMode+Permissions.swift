import PagingUnits

/// One access, as the rules see it.
struct HardwareAccess {
  let kind: AccessKind
  let privilege: Privilege
  /// EFLAGS.AC.
  let alignmentCheck: Bool
  let pkru: UInt32

  var isUser: Bool { privilege == .user }
  /// The right that the access needs.
  var need: Translation.Usable {
    switch kind {
    case .read: .read
    case .write: .write
    case .fetch: .fetch
    }
  }
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

/// The permission rules (SDM volume 3A, "Determination of Access Rights", "Protection Keys",
/// "Page-Fault Exceptions").
extension GuestMode {
  /// What accesses of this privilege may do on a page with these rights.
  @inline(__always)
  func usable(_ access: HardwareAccess, _ rights: GuestRights) -> Translation.Usable {
    // Without paging there are no rules, whatever CR4 says.
    if levels == 0 { return [.read, .write, .fetch] }
    var (read, write, fetch) = (true, rights.write, rights.execute || !noExecute)
    if access.isUser {
      read = rights.user
      write = write && rights.user
      fetch = fetch && rights.user
    } else {
      write = write || !writeProtect
      if rights.user {
        if smep { fetch = false }
        if smap && (access.privilege == .implicitSupervisor || !access.alignmentCheck) {
          read = false
          write = false
        }
      }
    }
    if protectionKeys && rights.user {
      let pair = (access.pkru &>> (rights.key &* 2)) & 0b11
      if pair & 0b01 != 0 { (read, write) = (false, false) }
      if pair & 0b10 != 0 && (access.isUser || writeProtect) { write = false }
    }
    var usable: Translation.Usable = []
    if read { usable.insert(.read) }
    if write { usable.insert(.write) }
    if fetch { usable.insert(.fetch) }
    return usable
  }

  /// The error code of an access that a present page with these rights refuses.
  func refusal(_ access: HardwareAccess, _ rights: GuestRights) -> UInt32 {
    1 | (keyRefuses(access, rights) ? 1 << 5 : 0) | errorCode(access)
  }

  /// The bits of an error code that say what was tried.
  func errorCode(_ access: HardwareAccess) -> UInt32 {
    var code: UInt32 = access.isUser ? 1 << 2 : 0
    if access.kind == .write { code |= 1 << 1 }
    if access.kind == .fetch && (noExecute || smep) { code |= 1 << 4 }
    return code
  }

  private func keyRefuses(_ access: HardwareAccess, _ rights: GuestRights) -> Bool {
    guard protectionKeys && rights.user && access.kind != .fetch else { return false }
    let pair = (access.pkru >> (rights.key * 2)) & 0b11
    if pair & 0b01 != 0 { return true }
    return pair & 0b10 != 0 && access.kind == .write && (access.isUser || writeProtect)
  }
}
