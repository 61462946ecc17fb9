import DirectMMU
import GuestMemory
import HostMemory
import PageTables
import PagingUnits
import VirtualMachine

/// Guest memory the slow obvious way: memslots by a plain scan, then the host process's page table
/// byte by byte.
///
/// It shares no code with the look-ups of `GuestMemory` and `HostMemory`; the layout of the host's
/// entries is the one that `HostMemory` documents.
struct ReferenceMemory {
  /// What an access to guest-physical memory comes to.
  enum Answer: Hashable {
    /// The host address that holds the byte.
    case place(UInt64)
    /// Nobody's memory, or not to be written: the VMM performs the access.
    case device
    /// The host cannot give the page.
    case failed(FaultOutcome.HostFailure)
  }

  /// What the host's page table holds for an address.
  enum HostState: Hashable {
    /// A page: the host-physical byte, the level of its entry, and whether it may be written.
    case page(UInt64, depth: Int, isWritable: Bool)
    /// A page that a protection hides.
    case hidden(UInt64)
    /// A page that was swapped out: where its bytes lie.
    case swapped(UInt64)
    /// A page whose bytes are damaged.
    case poisoned
    /// Nothing yet.
    case empty
  }

  let memory: PhysicalMemory
  private let root: UInt64
  private let generation: UInt64
  private(set) var slots: [Memslot] = []

  /// The layout of one address space, as it is now.
  init(_ machine: borrowing VirtualMachine, _ space: AddressSpace) {
    memory = machine.process.host.memory
    root = machine.process.root.number << 12
    generation = machine.slots.generation(of: space).raw
    let count = machine.slots.slotCount(in: space)
    var number: UInt16 = 0
    while slots.count < count && number < MemslotID.count {
      if let slot = machine.slots.slot(MemslotID(number), in: space) { slots.append(slot) }
      number += 1
    }
  }

  /// Whether the layout is still the one that this was made from.
  func isCurrent(_ machine: borrowing VirtualMachine, _ space: AddressSpace) -> Bool {
    generation == machine.slots.generation(of: space).raw
      && slots.count == machine.slots.slotCount(in: space)
  }

  /// The slot that holds a guest-physical byte.
  func slot(_ physical: UInt64) -> Memslot? {
    let frame = physical >> 12
    for slot in slots {
      let first = slot.baseFrame.number
      if first <= frame && frame < first + slot.frameCount { return slot }
    }
    return nil
  }

  /// Where a guest-physical byte lies in the host process; `nil` where no slot is.
  func hostAddress(_ physical: UInt64) -> UInt64? {
    slot(physical).map { $0.hostAddress.raw + (physical - $0.baseFrame.number << 12) }
  }

  /// What an access to a guest-physical byte comes to.
  func answer(
    _ physical: UInt64, writes: Bool, _ machine: borrowing VirtualMachine
  ) -> Answer {
    guard let slot = slot(physical) else { return .device }
    if writes && slot.isReadOnly { return .device }
    let address = slot.hostAddress.raw + (physical - slot.baseFrame.number << 12)
    let state = host(address)
    if case .page(_, _, let isWritable) = state, isWritable || !writes { return .place(address) }
    guard let region = machine.process.region(containing: HostVirtual(address)) else {
      return .failed(.badAddress)
    }
    switch region.protection {
    case .none: return .failed(.badAddress)
    case .readOnly where writes:
      if case .device = region.backing { return .device }
      return .failed(.badAddress)
    case .readOnly, .readWrite: break
    }
    if state == .poisoned { return .failed(.poisoned) }
    if state == .empty, case .file(let id, let offset, _) = region.backing {
      let position = offset + (address & ~0xFFF) - region.range.lowerBound.raw
      if position >= machine.process.contents(of: id).file.byteCount {
        return .failed(.badAddress)
      }
    }
    return .place(address)
  }

  /// Whether sub-page protection refuses a write to so many bytes of a page: some sub-page of 128
  /// bytes that it touches has a 0 in the page's map.
  func refusesWrite(
    _ physical: UInt64, _ count: Int, _ machine: borrowing VirtualMachine
  ) -> Bool {
    guard machine.tables.subpages.mapCount > 0, let slot = slot(physical) else { return false }
    let map = machine.tables.subpages[
      MapRow(number: slot.metadata.row, base: slot.baseFrame), GuestFrame(physical >> 12)]
    for offset in (physical & 0xFFF)..<min((physical & 0xFFF) + UInt64(count), 4096)
    where map.rawValue >> UInt32(offset / 128) & 1 == 0 {
      return true
    }
    return false
  }

  /// Whether sub-page protection has anything to say of a page.
  func isProtected(_ physical: UInt64, _ machine: borrowing VirtualMachine) -> Bool {
    refusesWrite(physical & ~0xFFF, 4096, machine)
  }

  /// Whether the host may lack a page for a guest-physical byte, however many frames it has: huge
  /// pages that never split need a whole block.
  func mayRunDry(_ physical: UInt64, _ machine: borrowing VirtualMachine) -> Bool {
    guard let slot = slot(physical) else { return false }
    let address = slot.hostAddress.raw + (physical - slot.baseFrame.number << 12)
    guard host(address) == .empty,
      case .hugePages? = machine.process.region(containing: HostVirtual(address))?.backing
    else { return false }
    return true
  }

  /// What the host's page table holds for a guest-physical byte; `nil` where no slot is.
  func host(ofGuest physical: UInt64) -> HostState? {
    slot(physical).map { host($0.hostAddress.raw + (physical - $0.baseFrame.number << 12)) }
  }

  /// What the host's page table holds for an address of the process.
  func host(_ address: UInt64) -> HostState { walk(root, address) }

  private func walk(_ top: UInt64, _ address: UInt64) -> HostState {
    var table = top
    var depth = 4
    while true {
      let shift = UInt64(12 + 9 * (depth - 1))
      let entry = memory.entryOrOnes(at: HostPhysical(table + (address >> shift & 511) * 8))
      let isPresent = entry & 1 == 1
      let target = entry & 0x000F_FFFF_FFFF_F000
      if isPresent && depth > 1 && entry >> 7 & 1 == 0 {
        table = target
        depth -= 1
        continue
      }
      let byte = target | address & (1 << shift - 1)
      if isPresent { return .page(byte, depth: depth, isWritable: entry >> 1 & 1 == 1) }
      if entry >> 8 & 1 == 1 { return .hidden(byte) }
      if entry >> 52 & 1 == 1 { return .swapped(byte) }
      return entry >> 10 & 1 == 1 ? .poisoned : .empty
    }
  }

  // MARK: Bytes

  /// The host-physical byte behind an address of the process, if a page is there or in the swap
  /// area.
  func physical(_ address: UInt64) -> UInt64? {
    switch host(address) {
    case .page(let byte, _, _), .hidden(let byte), .swapped(let byte): byte
    case .poisoned, .empty: nil
    }
  }

  /// The bytes at an address of the process, lowest first, as they are or as they will be when
  /// somebody first looks; `nil` where nothing can be read.
  ///
  /// All lie in one page.
  func bytes(_ count: Int, at address: UInt64, _ machine: borrowing VirtualMachine) -> UInt64? {
    if let byte = physical(address) { return bytes(count, atPhysical: byte) }
    let host = HostVirtual(address)
    guard self.host(address) == .empty, let region = machine.process.region(containing: host)
    else { return nil }
    switch region.backing {
    case .anonymous, .hugePages: return 0
    case .device(let first):
      return bytes(count, atPhysical: first.number << 12 + address - region.range.lowerBound.raw)
    case .file(let id, let offset, _):
      let (file, root) = machine.process.contents(of: id)
      let position = offset + address - region.range.lowerBound.raw
      if case .page(let byte, _, _) = walk(root.number << 12, position) {
        return bytes(count, atPhysical: byte)
      }
      return Self.assemble(count, at: position) { file.word($0 >> 3) }
    }
  }

  /// Whether a host-physical byte lies in memory.
  func isMemory(_ address: UInt64) -> Bool { address < memory.byteCount }

  /// The bytes at a host-physical address; what lies outside memory reads as ones.
  func bytes(_ count: Int, atPhysical address: UInt64) -> UInt64 {
    Self.assemble(count, at: address) { memory.entryOrOnes(at: HostPhysical($0)) }
  }

  private static func assemble(
    _ count: Int, at address: UInt64, _ word: (UInt64) -> UInt64
  ) -> UInt64 {
    guard count > 0 else { return 0 }
    let (start, shift) = (address & ~7, (address & 7) * 8)
    var value = word(start) >> shift
    if shift != 0 && Int(address & 7) + count > 8 { value |= word(start + 8) << (64 - shift) }
    return count == 8 ? value : value & (1 << UInt64(count * 8) - 1)
  }
}
