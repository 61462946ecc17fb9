import GuestMemory
import HardwareModel
import HostMemory
import PagingUnits
public import VirtualMachine

/// Whether a processor keeps a translation that the host's decisions no longer give.
///
/// Towards the guest's own tables a TLB may be stale until the guest invalidates; towards memslots
/// and the host's page table it never may, once an operation has returned.
public enum KeptTranslations {
  /// Judges everything that a processor keeps; the first violation, if any.
  public static func violation(
    in machine: borrowing VirtualMachine, of number: Int
  ) -> Violation? {
    if machine.hasRequests(of: number) { return nil }
    for place in 0..<machine.translationCapacity(of: number) {
      guard let kept = machine.keptTranslation(in: place, of: number) else { continue }
      let what =
        "\(hex(kept.linear.raw)) → \(hex(kept.guestPhysical.raw)) → "
        + "\(hex(kept.hostPhysical.raw))"
      let frame = kept.guestPhysical.frame
      guard let slot = machine.slots.slot(containing: frame, in: .normal),
        let page = machine.process.lookUpMapped(slot.hostAddress(of: frame), for: .read)
      else {
        return Violation("a kept translation leads to memory that the guest has", found: what)
      }
      if page.frame != kept.hostPhysical.frame {
        return Violation(
          "a kept translation leads where the host process has the page",
          found: "\(what), the host has frame \(hex(page.frame.number))")
      }
      if kept.isWritable && (!page.isWritable || slot.isReadOnly) {
        return Violation("a kept translation grants no write that was taken away", found: what)
      }
    }
    return nil
  }
}
