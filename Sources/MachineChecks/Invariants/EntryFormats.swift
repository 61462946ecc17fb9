import PageTables
import PagingUnits
public import VirtualMachine

/// An entry has no bit that the processor's manual reserves, and none that the encoding does not
/// know; what is not present is empty, frozen or a device's.
///
/// SDM, "EPT Misconfigurations"; APM, "Nested Paging" and "Long-Mode Page Translation".
public struct EntryFormats: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "an entry has only bits that its format allows"
  /// The bits of leaves and of other entries, level by level, once they were asked for.
  private var allowedBits = InlineArray<12, UInt64>(repeating: 0)

  /// The rule before a scan.
  public init() {}

  /// Looks at an entry.
  public mutating func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    let encoding = machine.tables.encoding
    guard seen.entry.isPresent else {
      let isKnown = seen.entry.isFrozen || encoding.isMMIO(seen.entry)
      return isKnown ? nil : broken(by: seen, "not present, and neither empty nor a device's")
    }
    let kind = Int(seen.level.depth) * 2 + (seen.isLeaf ? 1 : 0)
    if allowedBits[kind] == 0 { allowedBits[kind] = Self.allowed(seen, encoding) }
    let alien = seen.entry.raw & ~allowedBits[kind]
    if alien != 0 { return broken(by: seen, "bits \(hex(alien)) are reserved here") }
    guard encoding.format == .ept else { return nil }
    return Self.isMisconfigured(seen, machine)
      ? broken(by: seen, "an EPT misconfiguration") : nil
  }

  /// The bits that a present entry may have.
  private static func allowed(_ seen: SeenEntry, _ encoding: EntryEncoding) -> UInt64 {
    let lowest = seen.isLeaf ? 12 + 9 * (Int(seen.level.depth) - 1) : 12
    let highest = Int(encoding.physicalBits) - 1
    var bits: UInt64 = highest < lowest ? 0 : Field(lowest...highest).mask
    bits |= encoding.encryption
    let isLarge = seen.isLeaf && seen.level > .page4K
    if isLarge { bits |= SPTELayout.pageSize.mask }
    if seen.level > .page1G && isLarge { return 0 }
    switch encoding.format {
    case .ept:
      for field in SPTELayout.EPT.all where field != SPTELayout.frame {
        let isForLeaves =
          field == SPTELayout.EPT.memoryType || field == SPTELayout.EPT.ignorePAT
          || field == SPTELayout.EPT.dirty || field == SPTELayout.EPT.savedRead
          || field == SPTELayout.EPT.savedExecute || field == SPTELayout.EPT.hostWritable
          || field == SPTELayout.EPT.mmuWritable
        let isForSubpages =
          field == SPTELayout.EPT.subpages || field == SPTELayout.EPT.savedSubpages
        if isForSubpages && !(seen.isLeaf && seen.level == .page4K) { continue }
        if field != SPTELayout.pageSize && (seen.isLeaf || !isForLeaves) { bits |= field.mask }
      }
    case .npt, .shadow:
      for field in SPTELayout.NPT.all where field != SPTELayout.frame {
        let isForLeaves =
          field == SPTELayout.NPT.dirty || field == SPTELayout.NPT.hostWritable
          || field == SPTELayout.NPT.mmuWritable || field == SPTELayout.NPT.noExecute
        if field != SPTELayout.pageSize && (seen.isLeaf || !isForLeaves) { bits |= field.mask }
      }
    }
    return bits
  }

  /// What the processor calls a misconfiguration beyond reserved bits: rights that no page can
  /// have, a memory type that does not exist; and a table entry without all rights.
  private static func isMisconfigured(
    _ seen: SeenEntry, _ machine: borrowing VirtualMachine
  ) -> Bool {
    let rights = seen.entry.raw & 0b111
    let type = seen.entry.raw >> 3 & 0b111
    if rights == 0b010 || rights == 0b110 { return true }
    if rights == 0b100 && machine.configuration.executeOnly == .absent { return true }
    return seen.isLeaf ? type != 0 && type != 6 : rights != 0b111
  }
}
