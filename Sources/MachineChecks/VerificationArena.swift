import HostMemory
import PagingUnits
import X86Paging

/// The few frames of memory that one worker of the comparison lays its tables in.
///
/// The table of depth `d` is frame `d`, and each table has one entry in use: the one that the
/// space's address selects.
@safe struct VerificationArena: ~Copyable {
  private let base: UnsafeMutableRawPointer
  /// The frames.
  let memory: PhysicalMemory
  /// How many bits an address inside the arena has.
  static let addressBits: UInt64 = 16

  init() {
    let size = 1 << Int(Self.addressBits)
    // SAFETY: allocated here, page-aligned and zeroed; freed only when the arena ends.
    unsafe base = .allocate(byteCount: size, alignment: 4096)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    unsafe memory = PhysicalMemory(base: base, byteCount: UInt64(size))
  }

  deinit {
    // SAFETY: allocated in `init`, and the workers that used it have ended.
    unsafe base.deallocate()
  }
}

/// The arena as the MMU's walk sees it: guest-physical addresses are the arena's.
struct ArenaTables: GuestTableMemory {
  let memory: PhysicalMemory

  func contains(_ address: GuestPhysical) -> Bool {
    memory.contains(HostPhysical(address.raw), count: 8)
  }

  func entry(at address: GuestPhysical) -> EntryRead {
    guard contains(address) else { return .absent }
    return .entry(memory.entry(at: HostPhysical(address.raw)))
  }

  func shortEntry(at address: GuestPhysical) -> EntryRead {
    guard memory.contains(HostPhysical(address.raw), count: 4) else { return .absent }
    return .entry(UInt64(memory.entry32(at: HostPhysical(address.raw))))
  }

  func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange {
    let found = memory.compareExchangeEntry(
      expected: expected, desired: desired, at: HostPhysical(address.raw))
    return found == expected ? .exchanged : .mismatch
  }

  func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange {
    let found = memory.compareExchangeEntry32(
      expected: expected, desired: desired, at: HostPhysical(address.raw))
    return found == expected ? .exchanged : .mismatch
  }
}
