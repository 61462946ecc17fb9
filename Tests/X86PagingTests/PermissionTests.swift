import PagingUnits
import Testing
import X86Paging

@Suite("Permissions")
struct PermissionTests {
  private func refusal(
    _ controls: PermissionTable.Controls, _ kind: AccessKind, _ privilege: Privilege,
    _ rights: AccessRights, key: UInt64 = 0, pkru: UInt32 = 0, ac: Bool = false
  ) -> PageFaultErrorCode {
    PermissionTable(controls).refusal(
      of: PageFaultErrorCode(asking: kind, by: privilege), rights: rights, key: key, pkru: pkru,
      alignmentCheck: ac)
  }

  /// Every combination of the five control bits.
  private static let controls = (0..<32).map { PermissionTable.Controls(rawValue: $0) }
  /// Every combination of rights.
  private static let rights = (0..<8).map { AccessRights(rawValue: $0) }

  @Test("user mode reaches user pages alone, whatever is on", arguments: controls)
  func userPages(controls: PermissionTable.Controls) {
    for rights in Self.rights where !rights.contains(.user) {
      for kind in AccessKind.allCases {
        #expect(refusal(controls, kind, .user, rights) == .present)
      }
    }
    for kind in AccessKind.allCases { #expect(refusal(controls, kind, .user, .all) == []) }
  }

  @Test("a write needs W, but a supervisor's only with CR0.WP", arguments: controls)
  func writes(controls: PermissionTable.Controls) {
    #expect(refusal(controls, .write, .user, [.user, .execute]) == .present)
    let refused = !refusal(controls, .write, .supervisor, .execute).isEmpty
    #expect(refused == controls.contains(.writeProtect))
    #expect(refusal(controls, .write, .supervisor, .write) == [])
  }

  @Test("a fetch needs X where EFER.NXE is 1", arguments: controls)
  func fetches(controls: PermissionTable.Controls) {
    let noExecute = controls.contains(.noExecute)
    #expect(refusal(controls, .fetch, .user, [.user, .write]).isEmpty == !noExecute)
    #expect(refusal(controls, .fetch, .supervisor, .write).isEmpty == !noExecute)
    #expect(refusal(controls, .fetch, .supervisor, .execute).isEmpty)
  }

  @Test("SMEP refuses supervisor fetches from user pages, and nothing else", arguments: controls)
  func executionPrevention(controls: PermissionTable.Controls) {
    for privilege in [Privilege.supervisor, .implicitSupervisor] {
      let refused = !refusal(controls, .fetch, privilege, .all, ac: true).isEmpty
      #expect(refused == controls.contains(.executionPrevention))
    }
  }

  @Test(
    "SMAP refuses supervisor data accesses to user pages; AC exempts explicit ones alone",
    arguments: controls)
  func accessPrevention(controls: PermissionTable.Controls) {
    let prevents = controls.contains(.accessPrevention)
    for kind in [AccessKind.read, .write] {
      #expect(refusal(controls, kind, .supervisor, .all).isEmpty == !prevents)
      #expect(refusal(controls, kind, .supervisor, .all, ac: true).isEmpty)
      #expect(refusal(controls, kind, .implicitSupervisor, .all, ac: true).isEmpty == !prevents)
      #expect(refusal(controls, kind, .supervisor, [.write, .execute]).isEmpty)
      #expect(refusal(controls, kind, .user, .all, ac: true).isEmpty)
    }
  }

  @Test("a key disables data accesses to user pages", arguments: 0..<16 as Range<UInt64>)
  func keyAccess(key: UInt64) {
    let pkru: UInt32 = 1 << (2 * UInt32(key))
    let on: PermissionTable.Controls = .protectionKeys
    for privilege in Privilege.allCases {
      for kind in [AccessKind.read, .write] {
        let refused = refusal(on, kind, privilege, .all, key: key, pkru: pkru)
        #expect(refused == [.present, .protectionKey])
        #expect(refusal([], kind, privilege, .all, key: key, pkru: pkru) == [])
      }
      #expect(refusal(on, .fetch, privilege, .all, key: key, pkru: pkru) == [])
    }
    #expect(refusal(on, .read, .user, .all, key: key ^ 1, pkru: pkru) == [])
    #expect(refusal(on, .read, .supervisor, [.write], key: key, pkru: pkru) == [])
  }

  @Test("a key disables writes; a supervisor's only with CR0.WP")
  func keyWrite() {
    let pkru: UInt32 = 2 << 10
    let on: PermissionTable.Controls = .protectionKeys
    let both: PermissionTable.Controls = [.protectionKeys, .writeProtect]
    #expect(refusal(on, .write, .user, .all, key: 5, pkru: pkru) == [.present, .protectionKey])
    #expect(refusal(on, .write, .supervisor, .all, key: 5, pkru: pkru) == [])
    #expect(
      refusal(both, .write, .supervisor, .all, key: 5, pkru: pkru) == [.present, .protectionKey])
    #expect(refusal(both, .read, .user, .all, key: 5, pkru: pkru) == [])
  }

  @Test("a key refuses beside the rights: both are told")
  func both() {
    let code = refusal(
      [.protectionKeys, .writeProtect], .write, .user, [.user], key: 3, pkru: 3 << 6)
    #expect(code == [.present, .protectionKey])
  }

  @Test("EPT needs R to read, W to write and X to fetch, and nothing else", arguments: rights)
  func extended(rights: AccessRights) {
    let table = PermissionTable(ept: ())
    func isPermitted(_ kind: AccessKind) -> Bool {
      table.refusal(
        of: PageFaultErrorCode(askingEPT: kind), rights: rights, key: 1, pkru: .max,
        alignmentCheck: false
      ).isEmpty
    }
    #expect(isPermitted(.read) == rights.contains(.user))
    #expect(isPermitted(.write) == rights.contains(.write))
    #expect(isPermitted(.fetch) == rights.contains(.execute))
  }
}
