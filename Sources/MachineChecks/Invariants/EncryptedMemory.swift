import HostMemory
import PageTables
import PagingUnits
import ShadowMMU
public import VirtualMachine

/// Where the host encrypts its memory, every entry that leads to memory says so, and no other does.
///
/// A table is in the clear exactly while CR3 of 32 bits may point to it, and none is given back so.
/// On any other host no bit says it, and no table is in the clear.
public enum EncryptedMemory {
  /// The rule as a sentence.
  public static let rule = "what leads to encrypted memory says so, and nothing else does"

  /// Checks every table and every processor; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var clear = 0
    if let bit = machine.configuration.encryptionBit {
      let encryption = MemoryEncryption(bit: bit, of: machine.process.host)
      let found =
        fault(inTables: encryption, &clear, machine) ?? fault(inRoots: encryption, &clear, machine)
      if let found { return Violation(rule, found: found) }
    }
    let counted = machine.process.host.clearFrames
    return counted == clear
      ? nil : Violation(rule, found: "\(counted) tables are in the clear, a scan finds \(clear)")
  }

  /// What is wrong with the entries of a table, or with its own form.
  private static func fault(
    inTables encryption: MemoryEncryption, _ clear: inout Int,
    _ machine: borrowing VirtualMachine
  ) -> String? {
    var roots: Set<HostFrame> = []
    if machine.configuration.mmu == .shadow {
      for processor in 0..<machine.configuration.processors {
        guard let root = machine.shadowRoot(of: processor), root.level == .page1G else { continue }
        roots.insert(root.frame)
      }
    }
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      let row = machine.tables.arena[id]
      if row.state == .free { continue }
      let isClear = !encryption.isEncrypted(row.frame)
      if isClear { clear += 1 }
      if isClear && (row.state != .live || !roots.contains(row.frame)) {
        return "table \(id.number), \(row.state), of level \(row.role.depth) is in the clear"
      }
      guard row.state == .live, !row.role.isSubpageTable else { continue }
      var next = 0
      while let index = machine.tables.memory.firstEntry(
        in: row.frame, from: next, unlike: SPTE.nonpresent.raw)
      {
        next = index + 1
        let word = machine.tables.memory.entry(at: row.frame.address + UInt64(index) * 8)
        let entry = SPTE(raw: word)
        let target = HostFrame((word & 0x000F_FFFF_FFFF_F000 & ~encryption.mask) >> 12)
        let isMeant =
          entry.isPresentTable(at: row.role.level)
          || entry.isPresent && encryption.isEncrypted(target)
        if (word & encryption.mask != 0) != isMeant {
          return "table \(id.number) of level \(row.role.depth), entry \(index): \(hex(word))"
        }
      }
    }
    return nil
  }

  /// What is wrong with the bare tables of a processor, or with the form of the root that it walks.
  private static func fault(
    inRoots encryption: MemoryEncryption, _ clear: inout Int, _ machine: borrowing VirtualMachine
  ) -> String? {
    guard machine.configuration.mmu == .shadow else { return nil }
    for processor in 0..<machine.configuration.processors {
      let found: String? = machine.withShadowState(of: processor) { state in
        let special = state.special
        for frame in [special.pae, special.level4, special.level5, special.dummy] {
          guard let frame else { continue }
          if !encryption.isEncrypted(frame) { clear += 1 }
          for index in 0..<4 as Range<UInt64> {
            let word = machine.tables.memory.entry(at: frame.address + index * 8)
            if word & 1 == 1 && word & encryption.mask == 0 {
              return "has an entry \(hex(word)) in a bare table"
            }
          }
        }
        for frame in [special.level4, special.level5] {
          if let frame, !encryption.isEncrypted(frame) { return "has an upper table in the clear" }
        }
        return nil
      }
      if let found { return "processor \(processor) \(found)" }
      guard let root = machine.shadowRoot(of: processor) else { continue }
      if encryption.isEncrypted(root.frame) == (root.level == .page1G) {
        return "processor \(processor) walks a root of level \(root.level.depth) that is "
          + (root.level == .page1G ? "encrypted" : "in the clear")
      }
    }
    return nil
  }
}
