import PagingUnits
import X86Paging

/// Sixteen frames of guest memory for tables, from address 0.
struct TableMemory: GuestTableMemory {
  var words = [UInt64](repeating: 0, count: 16 * 512)
  /// The entry that somebody else changes just before it is exchanged, and how often.
  var rival: (address: GuestPhysical, times: Int) = (GuestPhysical(.max), 0)
  /// The frames that cannot be written.
  var readOnly: Set<GuestFrame> = []
  /// The exchanges that took place, in their order.
  var exchanges: [GuestPhysical] = []

  subscript(_ address: UInt64) -> UInt64 {
    get { words[Int(address / 8)] }
    set { words[Int(address / 8)] = newValue }
  }

  subscript(short address: UInt64) -> UInt32 {
    get { UInt32(truncatingIfNeeded: words[Int(address / 8)] >> (8 * (address & 4))) }
    set {
      let shift = 8 * (address & 4)
      let kept = words[Int(address / 8)] & ~(0xFFFF_FFFF << shift)
      words[Int(address / 8)] = kept | UInt64(newValue) << shift
    }
  }

  func contains(_ address: GuestPhysical) -> Bool { address.raw / 8 < words.count }

  mutating func entry(at address: GuestPhysical) -> EntryRead {
    contains(address) ? .entry(self[address.raw]) : .absent
  }

  mutating func shortEntry(at address: GuestPhysical) -> EntryRead {
    contains(address) ? .entry(UInt64(self[short: address.raw])) : .absent
  }

  mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange {
    if readOnly.contains(address.frame) { return .readOnly }
    if rival.address == address && rival.times > 0 {
      rival.times -= 1
      self[address.raw] ^= 1 << 9
    }
    guard self[address.raw] == expected else { return .mismatch }
    self[address.raw] = desired
    exchanges.append(address)
    return .exchanged
  }

  mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange {
    guard self[short: address.raw] == expected else { return .mismatch }
    self[short: address.raw] = desired
    exchanges.append(address)
    return .exchanged
  }
}

/// The registers of a mode with its root in frame 1, write-protection and no-execute on.
func registers(_ mode: PagingMode) -> ControlRegisters {
  var registers = ControlRegisters()
  registers.cr3 = 0x1000
  guard mode != .off else { return registers }
  registers.cr0 |= CR0Layout.paging.mask | CR0Layout.writeProtect.mask | CR0Layout.protection.mask
  registers.cr4 |= CR4Layout.pageSizeExtensions.mask
  guard mode != .bits32 else { return registers }
  registers.cr4 |= CR4Layout.physicalAddressExtension.mask
  registers.efer |= EFERLayout.noExecute.mask
  guard mode != .pae else { return registers }
  registers.efer |= EFERLayout.longModeActive.mask | EFERLayout.longModeEnable.mask
  if mode == .fiveLevel { registers.cr4 |= CR4Layout.fiveLevels.mask }
  return registers
}
