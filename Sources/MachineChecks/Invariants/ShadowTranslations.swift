import HardwareModel
import HostMemory
import PageTables
import PagingUnits
public import VirtualMachine

/// A processor's TLB holds nothing that has left the shadow tables: whatever takes a leaf or a
/// right away flushes before anybody relies on it.
public enum ShadowTranslations {
  /// The rule as a sentence.
  public static let rule = "a processor keeps no translation that has left the shadow tables"

  private struct Page: Hashable {
    var frame: UInt64
    var depth: UInt8
    var isWritable: Bool
  }

  /// Checks what every processor keeps; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    var pages: Set<Page>?
    for processor in 0..<machine.configuration.processors {
      // What is asked of it is served before it uses anything.
      if machine.hasRequests(of: processor) { continue }
      for place in 0..<machine.translationCapacity(of: processor) {
        guard let kept = machine.keptTranslation(in: place, of: processor) else { continue }
        let leaves = pages ?? leaves(machine)
        pages = leaves
        if !isCovered(kept, by: leaves) {
          return Violation(
            rule,
            found: "processor \(processor) keeps \(hex(kept.linear.raw)) → "
              + "\(hex(kept.hostPhysical.raw)), level \(kept.level.depth)"
              + (kept.isLinearlyWritable ? ", writable" : ""))
        }
      }
    }
    return nil
  }

  private static func isCovered(
    _ kept: HardwareModel.Processor.Kept, by leaves: Set<Page>
  ) -> Bool {
    for depth in kept.level.depth...3 {
      let frame = kept.hostPhysical.raw >> 12 & ~(Level(Int(depth)).frameCount - 1)
      if leaves.contains(Page(frame: frame, depth: UInt8(depth), isWritable: true)) { return true }
      if !kept.isLinearlyWritable
        && leaves.contains(Page(frame: frame, depth: UInt8(depth), isWritable: false))
      {
        return true
      }
    }
    return false
  }

  private static func leaves(_ machine: borrowing VirtualMachine) -> Set<Page> {
    var pages: Set<Page> = []
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      number += 1
      let row = machine.tables.arena[id]
      guard row.state == .live else { continue }
      var next = 0
      while let index = machine.tables.memory.firstEntry(
        in: row.frame, from: next, unlike: SPTE.nonpresent.raw)
      {
        next = index + 1
        let entry = machine.tables.entry(at: ShadowPlace(id, index))
        guard entry.isPresentLeaf(at: row.role.level) else { continue }
        pages.insert(
          Page(
            frame: machine.tables.encoding.frame(of: entry).number, depth: UInt8(row.role.depth),
            isWritable: entry.isWritable))
      }
    }
    return pages
  }
}
