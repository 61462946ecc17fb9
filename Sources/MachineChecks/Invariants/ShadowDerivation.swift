import GuestMemory
import HostMemory
import PageTables
import PagingUnits
import ShadowMMU
public import VirtualMachine

/// What a shadow table in step holds follows from the guest's table as it is now.
///
/// The entries are derived anew, from the bytes: each entry of ours that is not empty has a guest's
/// entry behind it that is present, accessed and without a reserved bit, leads to the same frame or
/// table, and grants the same rights. An entry of ours may miss the right to write, which comes
/// with the dirty bit. Without CR0.WP it may be a supervisor's writable page in the place of a
/// user's.
public struct ShadowDerivation {
  /// The rule as a sentence.
  public static let rule = "a shadow table in step says what the guest's table says"

  private let memories: [ReferenceMemory]
  private let physicalBits: UInt64
  private let hasGigabytePages: Bool

  private init(_ machine: borrowing VirtualMachine) {
    memories = [ReferenceMemory(machine, .normal), ReferenceMemory(machine, .systemManagement)]
    physicalBits = UInt64(machine.configuration.guestPhysicalBits)
    hasGigabytePages = machine.configuration.gigabytePages == .present
  }

  /// Derives every table in step anew; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    let check = ShadowDerivation(machine)
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      let row = machine.tables.arena[id]
      guard row.state == .live, !row.role.isInvalid, !row.role.isPassthrough,
        row.generation == machine.shadow.generation, !machine.tables.shadow[id].isLocal
      else { continue }
      var next = 0
      while let index = machine.tables.memory.firstEntry(
        in: row.frame, from: next, unlike: SPTE.nonpresent.raw)
      {
        next = index + 1
        if let found = check.problem(ShadowPlace(id, index), row, machine) {
          return Violation(
            rule,
            found: "table \(id.number) of level \(row.role.depth), frame "
              + "\(hex(row.guestFrame.number)), entry \(index) \(found)")
        }
      }
    }
    return nil
  }

  /// What is wrong with an entry that is not empty.
  private func problem(
    _ place: ShadowPlace, _ row: ShadowPage, _ machine: borrowing VirtualMachine
  ) -> String? {
    let entry = machine.tables.entry(at: place)
    if let found = rightsProblem(place, entry, row, machine) { return found }
    guard machine.tables.hasGuestEntries(place.page) else {
      return linearProblem(place, entry, row, machine)
    }
    if machine.tables.shadow[place.page].isUnsync { return nil }
    let memory = memories[Int(row.role.space.rawValue)]
    let address = guestAddress(place, row)
    let width = row.role.hasShortEntries ? 4 : 8
    // What the host has lost cannot be compared.
    guard let host = memory.hostAddress(address), let word = memory.bytes(width, at: host, machine)
    else { return nil }
    let said = "has \(hex(entry.raw)), the guest's entry is \(hex(word)): "
    guard word & 1 == 1, !isMalformed(word, row.role) else { return said + "it leads nowhere" }
    // What nobody may write stays unmarked.
    var marks = word & 0x60
    if marks != 0x60, case .device = memory.answer(address, writes: true, machine) { marks = 0x60 }
    if marks & 0x20 == 0 { return said + "it is not marked accessed" }
    let own = rights(word, row.role)
    if isPage(word, row.role) {
      let meant = marks & 0x40 != 0 ? own : own.subtracting(.write)
      return pageProblem(place, entry, row, word, meant, machine).map { said + $0 }
    }
    guard let child = machine.tables.child(at: place, machine.process.host) else {
      return said + "a table"
    }
    let below = machine.tables.arena[child]
    let frame = (word & (width == 4 ? 0xFFFF_F000 : 0x000F_FFFF_FFFF_F000)) >> 12
    if below.role.isDirect || below.guestFrame.number != frame
      || below.role.depth != row.role.depth - 1
    {
      return said + "table \(child.number) is of frame \(hex(below.guestFrame.number))"
    }
    if below.role.access != own { return said + "table \(child.number) has other rights" }
    let quadrant = width == 4 && row.role.depth == 2 ? place.index & 1 : 0
    return below.role.quadrant == quadrant ? nil : said + "another quadrant"
  }

  /// The guest's entry maps a page.
  private func pageProblem(
    _ place: ShadowPlace, _ entry: SPTE, _ row: ShadowPage, _ word: UInt64,
    _ meant: AccessRights, _ machine: borrowing VirtualMachine
  ) -> String? {
    let frame = pageFrame(word, row.role, place.index)
    let tables = machine.tables.encoding
    if tables.isMMIO(entry) {
      return tables.mmioFrame(of: entry).number == frame ? nil : "another device"
    }
    if let child = machine.tables.child(at: place, machine.process.host) {
      let below = machine.tables.arena[child]
      if !below.role.isDirect { return "a page, not table \(child.number)" }
      if below.guestFrame.number != frame { return "another large page" }
      return areLawful(below.role.access, meant, row.role)
        ? nil : "table \(child.number) has other rights"
    }
    let known = machine.tables.translation(at: place)
    if known.frame.number != frame { return "frame \(hex(known.frame.number)) is mapped" }
    return areLawful(known.access, meant, row.role) ? nil : "it grants other rights"
  }

  /// Whether a leaf may have these rights where the guest's entries give those.
  private func areLawful(
    _ rights: AccessRights, _ meant: AccessRights, _ role: ShadowPageRole
  ) -> Bool {
    if rights == meant || rights == meant.subtracting(.write) { return true }
    guard !role.respectsWriteProtection, rights.contains(.write), !rights.contains(.user) else {
      return false
    }
    return rights.subtracting(.write).isSubset(of: meant)
  }

  /// A table behind which no table of the guest's stands maps frame after frame.
  private func linearProblem(
    _ place: ShadowPlace, _ entry: SPTE, _ row: ShadowPage, _ machine: borrowing VirtualMachine
  ) -> String? {
    let frame = row.guestFrame + UInt64(place.index) * row.role.level.frameCount
    if machine.tables.encoding.isMMIO(entry) {
      return machine.tables.encoding.mmioFrame(of: entry) == frame ? nil : "is another device"
    }
    guard let child = machine.tables.child(at: place, machine.process.host) else { return nil }
    let below = machine.tables.arena[child]
    return below.role.isDirect && below.guestFrame == frame
      && below.role.access.isSubset(of: row.role.access)
      ? nil : "leads to table \(child.number) of frame \(hex(below.guestFrame.number))"
  }

  /// Whether the bits that the hardware goes by are those of the rights that were written down.
  private func rightsProblem(
    _ place: ShadowPlace, _ entry: SPTE, _ row: ShadowPage, _ machine: borrowing VirtualMachine
  ) -> String? {
    guard entry.isPresentLeaf(at: row.role.level) else {
      guard let child = machine.tables.child(at: place, machine.process.host) else { return nil }
      let below = machine.tables.arena[child]
      return below.role.isInvalid || below.generation != row.generation
        ? "leads to table \(child.number), which is obsolete" : nil
    }
    let access = machine.tables.translation(at: place).access
    let isUser = entry.raw >> 2 & 1 == 1
    let isExecutable = entry.raw >> 63 == 0
    if isUser != access.contains(.user) || isExecutable != access.contains(.execute)
      || entry.isWritable && !access.contains(.write)
    {
      return "is \(hex(entry.raw)) for the rights \(access.rawValue)"
    }
    return nil
  }

  // MARK: The guest's entries, by the manual

  private func guestAddress(_ place: ShadowPlace, _ row: ShadowPage) -> UInt64 {
    let base = row.guestFrame.number << 12
    guard row.role.hasShortEntries else { return base + UInt64(place.index) * 8 }
    if row.role.depth == 1 {
      return base + UInt64(row.role.quadrant * 512 + place.index) * 4
    }
    return base + UInt64(row.role.quadrant * 256 + place.index / 2) * 4
  }

  private func isPage(_ word: UInt64, _ role: ShadowPageRole) -> Bool {
    role.depth == 1 || (role.depth <= 3 && word >> 7 & 1 == 1 && !role.ignoresPageSize)
  }

  private func isMalformed(_ word: UInt64, _ role: ShadowPageRole) -> Bool {
    if role.hasShortEntries {
      guard role.depth == 2 && isPage(word, role) else { return false }
      let bits = min(physicalBits, 40) - 32
      return word >> (13 + bits) & (1 << (9 - bits) - 1) != 0
    }
    if (word & 0x000F_FFFF_FFFF_FFFF) >> physicalBits != 0 { return true }
    if word >> 63 == 1 && role.reservesNoExecute { return true }
    if role.depth >= 4 { return word >> 7 & 1 == 1 }
    guard role.depth > 1 && isPage(word, role) else { return false }
    if role.depth == 3 && !hasGigabytePages { return true }
    return word >> 13 & (1 << UInt64(9 * (role.depth - 1) - 1) - 1) != 0
  }

  private func rights(_ word: UInt64, _ role: ShadowPageRole) -> AccessRights {
    var rights = role.access
    if word & 2 == 0 { rights.remove(.write) }
    if word & 4 == 0 { rights.remove(.user) }
    if word >> 63 == 1 { rights.remove(.execute) }
    return rights
  }

  private func pageFrame(_ word: UInt64, _ role: ShadowPageRole, _ index: Int) -> UInt64 {
    guard role.hasShortEntries else {
      return (word & 0x000F_FFFF_FFFF_FFFF) >> 12 & ~(role.level.frameCount - 1)
    }
    if role.depth == 1 { return word >> 12 & 0xF_FFFF }
    return (word >> 13 & 0xFF) << 20 | (word >> 22) << 10 | UInt64(index & 1) << 9
  }
}
