import GuestMemory
import PageTables
import PagingUnits
import SubpageProtection
public import VirtualMachine

/// Sub-pages judge the writes to protected pages and to no others.
///
/// The leaf of a page with sub-pages that may not be written is of 4 KiB and grants no write, now
/// or by a repair without a lock; if the host's page may be written, sub-pages judge its writes, or
/// the bit for it is set aside. No other leaf has the bit.
public struct SubpageLeaves: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "sub-pages judge the writes to protected pages and to no others"
  /// The rule before a scan.
  public init() {}

  /// Looks at a leaf.
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    // The defects of KVM's posted series break the rule.
    guard seen.isLeaf, let slot = seen.slot, machine.configuration.subpageQuirks.isEmpty else {
      return nil
    }
    let encoding = machine.tables.encoding
    let judged = encoding.isArmed(seen.entry) || encoding.isParked(seen.entry)
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    guard seen.level == .page4K else {
      guard machine.tables.subpages.protectedCount(row) > 0 else { return nil }
      let frames = slot.frames.clamped(to: seen.frame..<(seen.frame + seen.level.frameCount))
      for number in frames.lowerBound.number..<frames.upperBound.number
      where machine.tables.subpages[row, GuestFrame(number)].isProtected {
        return broken(by: seen, "frame \(hex(number)) is protected")
      }
      return nil
    }
    guard machine.tables.subpages[row, seen.frame].isProtected else {
      return judged ? broken(by: seen, "the page is not protected") : nil
    }
    if encoding.isArmed(seen.entry) && encoding.isParked(seen.entry) {
      return broken(by: seen, "judged, and the bit is set aside")
    }
    if seen.entry.isWritable || encoding.isMMUWritable(seen.entry) {
      return broken(by: seen, "the page is protected")
    }
    return judged == encoding.isHostWritable(seen.entry)
      ? nil : broken(by: seen, "judged by sub-pages just if the host permits writes")
  }
}
