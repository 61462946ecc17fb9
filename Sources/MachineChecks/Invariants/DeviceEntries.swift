import GuestMemory
import PageTables
import PagingUnits
public import VirtualMachine

/// An entry that says "device" is a 4 KiB one for its own frame; it stands where no memslot is, or
/// its generation is past and nobody believes it; no generation is of the future or of the other
/// address space.
///
/// The 19 bits that an entry keeps do not wrap at rest: before they would, every entry is zapped.
public struct DeviceEntries: EntryInvariant {
  /// The rule as a sentence.
  public static let rule = "a device's entry stands where no memslot is, of a generation that was"
  /// The rule before a scan.
  public init() {}

  /// Looks at an entry that says "device".
  public func violation(
    of seen: SeenEntry, in machine: borrowing VirtualMachine
  ) -> Violation? {
    let encoding = machine.tables.encoding
    guard !seen.entry.isPresent, encoding.isMMIO(seen.entry) else { return nil }
    if seen.level > .page4K { return broken(by: seen, "larger than 4 KiB") }
    if encoding.mmioFrame(of: seen.entry) != seen.frame {
      return broken(by: seen, "says frame \(hex(encoding.mmioFrame(of: seen.entry).number))")
    }
    let space = seen.root.role.space
    let now = machine.slots.generation(of: space).raw & SPTELayout.MMIO.generationMask
    let then = encoding.mmioGeneration(of: seen.entry)
    if then > now || then & 1 != now & 1 {
      return broken(by: seen, "generation \(then) at generation \(now)")
    }
    return then == now && seen.slot != nil ? broken(by: seen, "a memslot is there") : nil
  }
}
