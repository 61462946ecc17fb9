import GuestMemory
import HostMemory
import PagingUnits
public import VirtualMachine

/// The reasons against huge pages are those that a scan finds: an end of the memslot inside the
/// huge page, or frames that lie in it otherwise than the host's addresses do in the host's.
///
/// Looked at where a memslot begins and ends and in its middle, so that the cost does not go with
/// its size. Guest tables that are shadowed are reasons too, when there are such tables.
public enum HugePageCounts {
  /// The rule as a sentence.
  public static let rule = "huge pages are refused for the reasons that exist"

  /// Checks every memslot; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    for space in AddressSpace.allCases {
      var cursor = machine.slots.slots(in: space)
      while let slot = machine.slots.next(&cursor)?.slot {
        let places = [
          slot.baseFrame, slot.baseFrame + slot.frameCount / 2,
          slot.baseFrame + (slot.frameCount - 1),
        ]
        for level in [Level.page2M, .page1G] {
          for frame in places {
            let stated = machine.slots.hugePageRefusals(in: slot, at: frame, level).raw
            let found = reasons(against: level, at: frame, in: slot)
            if stated != found {
              return Violation(
                rule,
                found: "slot \(slot.id.number), level \(level.depth), frame "
                  + "\(hex(frame.number)): \(stated) stated, \(found) found")
            }
          }
        }
      }
    }
    return nil
  }

  private static func reasons(
    against level: Level, at frame: GuestFrame, in slot: Memslot
  ) -> UInt32 {
    let start = frame.aligned(to: level)
    let isCut =
      start < slot.baseFrame || slot.frames.upperBound < start + level.frameCount
    let isAskew =
      (slot.baseFrame.number ^ slot.hostAddress.raw >> 12) & (level.frameCount - 1) != 0
    return isCut || isAskew ? 1 : 0
  }
}
