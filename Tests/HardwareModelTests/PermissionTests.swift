import HardwareModel
import PagingUnits
import Testing

/// The rights of the page, and the control bits, of one case.
struct PermissionCase {
  var isUserPage = false
  var isWritable = false
  var forbidsExecution = false
  var key: UInt32 = 0
  var writeProtect = false
  var noExecute = false
  var smep = false
  var smap = false
  var alignmentCheck = false
  var protectionKeys = false
  var pkru: UInt32 = 0

  /// One case for each number below 2^11 times 4 settings of the page's key.
  init(_ bits: UInt64, keyRights: UInt32) {
    isUserPage = bits & 1 != 0
    isWritable = bits & 2 != 0
    forbidsExecution = bits & 4 != 0
    writeProtect = bits & 8 != 0
    noExecute = bits & 16 != 0
    smep = bits & 32 != 0
    smap = bits & 64 != 0
    alignmentCheck = bits & 128 != 0
    protectionKeys = bits & 256 != 0
    key = bits & 512 != 0 ? 13 : 0
    pkru = keyRights << (2 * key)
  }

  static let count: UInt64 = 1 << 10
}

/// The manual's list, sentence by sentence (SDM volume 3A, "Determination of Access Rights").
func manualPermits(
  _ one: PermissionCase, _ kind: AccessKind, _ privilege: Privilege
) -> Bool {
  let isForbidden = one.noExecute && one.forbidsExecution
  switch (privilege, kind) {
  // Supervisor-mode accesses, data reads.
  case (.supervisor, .read) where one.isUserPage: return !one.smap || one.alignmentCheck
  case (.implicitSupervisor, .read) where one.isUserPage: return !one.smap
  case (.supervisor, .read), (.implicitSupervisor, .read): return true
  // Supervisor-mode accesses, data writes.
  case (.supervisor, .write) where one.isUserPage:
    return (!one.smap || one.alignmentCheck) && (!one.writeProtect || one.isWritable)
  case (.implicitSupervisor, .write) where one.isUserPage:
    return !one.smap && (!one.writeProtect || one.isWritable)
  case (.supervisor, .write), (.implicitSupervisor, .write):
    return !one.writeProtect || one.isWritable
  // Supervisor-mode accesses, instruction fetches.
  case (.supervisor, .fetch) where one.isUserPage: return !one.smep && !isForbidden
  case (.implicitSupervisor, .fetch) where one.isUserPage: return !one.smep && !isForbidden
  case (.supervisor, .fetch), (.implicitSupervisor, .fetch): return !isForbidden
  // User-mode accesses.
  case (.user, .read): return one.isUserPage
  case (.user, .write): return one.isUserPage && one.isWritable
  case (.user, .fetch): return one.isUserPage && !isForbidden
  }
}

/// Whether the page's key refuses (SDM volume 3A, "Protection Keys").
func keyRefuses(_ one: PermissionCase, _ kind: AccessKind, _ privilege: Privilege) -> Bool {
  guard one.protectionKeys, one.isUserPage, kind != .fetch else { return false }
  let accessDisable = one.pkru >> (2 * one.key) & 1 != 0
  let writeDisable = one.pkru >> (2 * one.key + 1) & 1 != 0
  if accessDisable { return true }
  return writeDisable && kind == .write && (privilege == .user || one.writeProtect)
}

@Suite("Who may do what")
struct PermissionTests {
  /// Runs every case against one page of one mode.
  private func runAll(_ mode: World.Mode, depth: Int) throws {
    let world = try World(mode)
    let linear: UInt64 = 0x20_3000
    let hasKeys = mode == .fourLevel || mode == .fiveLevel
    let hasNoExecute = mode != .bits32
    let large: UInt64 = depth > 1 ? 1 << 7 : 0
    let place = world.place(linear, depth)
    var processor = world.processor()
    var wrong = 0
    for bits in 0..<PermissionCase.count {
      for keyRights in 0..<4 as Range<UInt32> {
        var one = PermissionCase(bits, keyRights: keyRights)
        if !hasKeys { one.protectionKeys = false }
        if !hasNoExecute && one.forbidsExecution { continue }
        // Bit 63 of an entry is reserved without EFER.NXE: another test's business.
        if !one.noExecute && one.forbidsExecution { continue }
        var entry: UInt64 = 0x80_0061 | large
        if one.isUserPage { entry |= 4 }
        if one.isWritable { entry |= 2 }
        if one.forbidsExecution { entry |= 1 << 63 }
        if hasKeys { entry |= UInt64(one.key) << 59 }
        world.write(entry, place)
        apply(one, world, withKeys: hasKeys)
        // 32-bit entries have nothing that EFER.NXE could switch on.
        let reportsFetch = (one.noExecute && hasNoExecute) || one.smep
        for kind in AccessKind.allCases {
          for privilege in Privilege.allCases {
            let byMode = manualPermits(one, kind, privilege)
            let byKey = !keyRefuses(one, kind, privilege)
            let outcome = processor.translate(
              GuestVirtual(linear), kind, privilege, world.registers, through: .none)
            if byMode && byKey {
              if outcome.translation == nil { wrong += 1 }
              continue
            }
            var code: UInt32 = 1
            if kind == .write { code |= 2 }
            if privilege == .user { code |= 4 }
            if kind == .fetch && reportsFetch { code |= 16 }
            if !byKey { code |= 32 }
            if outcome.errorCode != code { wrong += 1 }
          }
        }
      }
    }
    #expect(wrong == 0)
  }

  private func apply(_ one: PermissionCase, _ world: World, withKeys: Bool) {
    func set(_ word: inout UInt64, _ bit: UInt64, _ value: Bool) {
      word = word & ~(1 << bit) | (value ? 1 << bit : 0)
    }
    set(&world.registers.cr0, 16, one.writeProtect)
    set(&world.registers.efer, 11, one.noExecute)
    set(&world.registers.cr4, 20, one.smep)
    set(&world.registers.cr4, 21, one.smap)
    // Outside 64-bit modes the bit may be set and does nothing.
    set(&world.registers.cr4, 22, one.protectionKeys || !withKeys)
    world.registers.ac = one.alignmentCheck
    world.registers.pkru = one.pkru
  }

  @Test("4-level paging follows the manual's whole table")
  func fourLevel() throws { try runAll(.fourLevel, depth: 1) }

  @Test("5-level paging follows the manual's whole table, on a 2 MiB page")
  func fiveLevel() throws { try runAll(.fiveLevel, depth: 2) }

  @Test("PAE paging follows the manual's whole table, and knows no keys")
  func pae() throws { try runAll(.pae, depth: 1) }

  @Test("32-bit paging follows the manual's whole table, and knows no keys and no execute-disable")
  func bits32() throws { try runAll(.bits32, depth: 1) }

  @Test(
    "a right that any entry withholds is withheld",
    arguments: [World.Mode.bits32, .pae, .fourLevel, .fiveLevel])
  func accumulation(mode: World.Mode) throws {
    let world = try World(mode)
    let linear: UInt64 = 0x20_3000
    world[linear, 1] = 0x80_0067
    for depth in 1...world.topDepth {
      let whole = world[linear, depth]
      world[linear, depth] = whole & ~2
      #expect(world.access(linear, .write, .user).errorCode == 7)
      #expect(world.access(linear, .write, .supervisor).errorCode == 3)
      world[linear, depth] = whole & ~4
      #expect(world.access(linear, .read, .user).errorCode == 5)
      #expect(world.access(linear, .read, .supervisor).translation != nil)
      if mode != .bits32 {
        world[linear, depth] = whole | 1 << 63
        #expect(world.access(linear, .fetch, .user).errorCode == 0x15)
        #expect(world.access(linear, .read, .user).translation != nil)
      }
      world[linear, depth] = whole
      #expect(world.access(linear, .write, .user).translation != nil)
    }
  }

  @Test("what else is usable is what the same privilege may do next, whole table")
  func usable() throws {
    let world = try World(.fourLevel)
    let linear: UInt64 = 0x20_3000
    let place = world.place(linear, 1)
    var processor = world.processor()
    for bits in 0..<PermissionCase.count {
      let one = PermissionCase(bits, keyRights: UInt32(bits >> 3 & 3))
      if !one.noExecute && one.forbidsExecution { continue }
      var entry: UInt64 = 0x80_0061 | UInt64(one.key) << 59
      if one.isUserPage { entry |= 4 }
      if one.isWritable { entry |= 2 }
      if one.forbidsExecution { entry |= 1 << 63 }
      world.write(entry, place)
      apply(one, world, withKeys: true)
      for privilege in Privilege.allCases {
        var expected: Translation.Usable = []
        let rights: [(AccessKind, Translation.Usable)] = [
          (.read, .read), (.write, .write), (.fetch, .fetch),
        ]
        for (kind, right) in rights {
          let permits = manualPermits(one, kind, privilege) && !keyRefuses(one, kind, privilege)
          if permits { expected.insert(right) }
        }
        for (kind, _) in rights {
          let outcome = processor.translate(
            GuestVirtual(linear), kind, privilege, world.registers, through: .none)
          guard let translation = outcome.translation else { continue }
          #expect(translation.usable == expected)
        }
      }
    }
  }
}
