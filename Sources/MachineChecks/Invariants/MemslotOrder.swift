import GuestMemory
import HostMemory
import PagingUnits
public import VirtualMachine

/// Memslots lie side by side, never over one another, and each is found by its number, by its
/// frames and by its host addresses.
public enum MemslotOrder {
  /// The rule as a sentence.
  public static let rule = "memslots do not overlap and are found every way"

  /// Checks every memslot; the first violation, if any.
  public static func violation(in machine: borrowing VirtualMachine) -> Violation? {
    for space in AddressSpace.allCases {
      var cursor = machine.slots.slots(in: space)
      var end = GuestFrame(0)
      var count = 0
      while let slot = machine.slots.next(&cursor)?.slot {
        count += 1
        let isInOrder = slot.baseFrame >= end
        end = slot.frames.upperBound
        if !isInOrder || !isFound(slot, in: space, machine) {
          return Violation(
            rule,
            found: "slot \(slot.id.number) of address space \(space.rawValue), "
              + "frames \(hex(slot.baseFrame.number))…\(hex(end.number))")
        }
      }
      if count != machine.slots.slotCount(in: space) {
        return Violation(
          rule, found: "\(count) slots in order of \(machine.slots.slotCount(in: space))")
      }
    }
    return nil
  }

  private static func isFound(
    _ slot: Memslot, in space: AddressSpace, _ machine: borrowing VirtualMachine
  ) -> Bool {
    guard !slot.isInvalid, slot.addressSpace == space,
      machine.slots.slot(slot.id, in: space) == slot,
      machine.slots.slot(containing: slot.baseFrame, in: space) == slot,
      machine.slots.slot(containing: slot.baseFrame + (slot.frameCount - 1), in: space) == slot
    else { return false }
    var cursor = machine.slots.slots(at: slot.hostRange, in: space)
    while let part = machine.slots.next(&cursor) {
      if part.slot.id == slot.id { return part.frames == slot.frames }
    }
    return false
  }
}
