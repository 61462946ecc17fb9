import GuestMemory
import HostMemory
public import PagingUnits
public import VirtualMachine

/// Where a linear address must lead, computed the slow obvious way: the guest's tables read as
/// bytes, then the memslot, then the host process's own page table.
///
/// It shares no walker with the MMU or the hardware model. It says where an access goes, not
/// whether the access is permitted.
public enum ReferenceTranslation {
  /// The host-physical byte behind a linear address; `nil` where some table or slot ends the trip.
  public static func place(
    of address: GuestVirtual, _ registers: ControlRegisters, in machine: borrowing VirtualMachine
  ) -> HostPhysical? {
    guard let physical = guestPhysical(address.raw, registers, machine) else { return nil }
    return host(physical, machine)
  }

  private static func guestPhysical(
    _ linear: UInt64, _ registers: ControlRegisters, _ machine: borrowing VirtualMachine
  ) -> UInt64? {
    let isPaging = registers.cr0 >> 31 & 1 == 1
    guard isPaging else { return linear & 0xFFFF_FFFF }
    let isPAE = registers.cr4 >> 5 & 1 == 1
    guard isPAE else { return twoLevels(linear & 0xFFFF_FFFF, registers, machine) }
    let isLong = registers.efer >> 10 & 1 == 1
    var table: UInt64
    var depth: Int
    if isLong {
      table = registers.cr3 & 0x000F_FFFF_FFFF_F000
      depth = registers.cr4 >> 12 & 1 == 1 ? 5 : 4
    } else {
      let pointer = registers.pdptes[Int(linear >> 30 & 3)]
      guard pointer & 1 == 1 else { return nil }
      table = pointer & 0x000F_FFFF_FFFF_F000
      depth = 2
    }
    while true {
      let index = linear >> UInt64(12 + 9 * (depth - 1)) & 0x1FF
      guard let entry = word(table + index * 8, 8, machine), entry & 1 == 1 else { return nil }
      let frame = entry & 0x000F_FFFF_FFFF_F000
      if depth == 1 { return frame + linear & 0xFFF }
      if depth <= 3 && entry >> 7 & 1 == 1 {
        let inPage: UInt64 = depth == 3 ? 0x3FFF_FFFF : 0x1F_FFFF
        return frame & ~inPage | linear & inPage
      }
      table = frame
      depth -= 1
    }
  }

  private static func twoLevels(
    _ linear: UInt64, _ registers: ControlRegisters, _ machine: borrowing VirtualMachine
  ) -> UInt64? {
    let directory = registers.cr3 & 0xFFFF_F000 + linear >> 22 * 4
    guard let upper = word(directory, 4, machine), upper & 1 == 1 else { return nil }
    if upper >> 7 & 1 == 1 && registers.cr4 >> 4 & 1 == 1 {
      return (upper >> 13 & 0xFF) << 32 | upper & 0xFFC0_0000 | linear & 0x3F_FFFF
    }
    let place = upper & 0xFFFF_F000 + (linear >> 12 & 0x3FF) * 4
    guard let lower = word(place, 4, machine), lower & 1 == 1 else { return nil }
    return lower & 0xFFFF_F000 | linear & 0xFFF
  }

  private static func word(
    _ address: UInt64, _ count: Int, _ machine: borrowing VirtualMachine
  ) -> UInt64? {
    guard let place = host(address, machine) else { return nil }
    let memory = machine.process.host.memory
    return count == 4 ? UInt64(memory.entry32(at: place)) : memory.entry(at: place)
  }

  private static func host(
    _ physical: UInt64, _ machine: borrowing VirtualMachine
  ) -> HostPhysical? {
    let address = GuestPhysical(physical)
    guard let slot = machine.slots.slot(containing: address.frame, in: .normal),
      let page = machine.process.lookUpMapped(slot.hostAddress(of: address.frame), for: .read)
    else { return nil }
    return page.frame.address + address.pageOffset
  }
}
