import GuestMemory
import HostMemory
import PageTables
import PagingUnits
public import VirtualMachine

/// The reasons against huge pages are those that a scan finds: an end of the memslot inside the
/// huge page, or frames that lie in it otherwise than the host's addresses do in the host's.
///
/// Looked at where a memslot begins and ends and in its middle, so that the cost does not go with
/// its size. Each page with sub-pages that may not be written is a reason too. Guest tables that
/// are shadowed are reasons too, when there are such tables.
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
            let found =
              reasons(against: level, at: frame, in: slot)
              + protected(around: frame, level, in: slot, machine)
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

  /// How many pages around a frame have sub-pages that may not be written.
  private static func protected(
    around frame: GuestFrame, _ level: Level, in slot: Memslot, _ machine: borrowing VirtualMachine
  ) -> UInt32 {
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    guard machine.tables.subpages.protectedCount(row) > 0 else { return 0 }
    let start = frame.aligned(to: level)
    let frames = slot.frames.clamped(to: start..<(start + level.frameCount))
    var count: UInt32 = 0
    for number in frames.lowerBound.number..<frames.upperBound.number
    where machine.tables.subpages[row, GuestFrame(number)].isProtected {
      count += 1
    }
    return count
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
