import DirectMMU
import GuestMemory
import HostMemory
import PageTables
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine with pages of several sizes mapped, to be corrupted.
///
/// Slot 0 holds 16 MiB of 4 KiB pages at 0, slot 1 holds 16 MiB of 2 MiB pages at 1 GiB; between
/// them lie devices.
struct InvariantBench: ~Copyable {
  // Fields end in this order: the buffers outlive the machine on them.
  let machine: VirtualMachine
  let buffers: SparseHost
  /// Where the slots lie in the host process.
  let small: HostVirtual
  let large: HostVirtual

  static var largeStart: UInt64 { 1 << 30 }
  static var slotBytes: UInt64 { 16 << 20 }
  static var device: GuestPhysical { GuestPhysical(0x2000_0000) }

  init(_ vendor: MachineConfiguration.Vendor = .intel) throws {
    var configuration = MachineConfiguration()
    configuration.vendor = vendor
    configuration.processors = 2
    configuration.prefetch = .absent
    try self.init(configuration)
  }

  init(_ configuration: MachineConfiguration) throws {
    let buffers = try SparseHost(byteCount: 4 << 30)
    let process = try HostAddressSpace(sharing: buffers.makeHost())
    let small = try process.add(
      HostRegionRequest(byteCount: Self.slotBytes, backing: .anonymous(largestPage: .page4K)))
    let large = try process.add(
      HostRegionRequest(byteCount: Self.slotBytes, backing: .anonymous(largestPage: .page2M)))
    let machine = VirtualMachine(configuration, process: process)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: Self.slotBytes,
        hostAddress: small))
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(1), guestAddress: GuestPhysical(Self.largeStart),
        byteCount: Self.slotBytes, hostAddress: large))
    self.buffers = buffers
    self.small = small
    self.large = large
    self.machine = machine
    // Four small pages, one large one and a device, on both processors.
    for address in [0x1000, 0x2000, 0x3000, 0x5000, Self.largeStart] {
      _ = self.machine.access(0, GuestPhysical(address), .write)
      _ = self.machine.access(1, GuestPhysical(address), .read)
    }
    _ = self.machine.access(0, Self.device, .read)
  }

  /// The entry at the lowest level that covers a guest-physical address.
  func path(to address: UInt64) -> EntryPath {
    let root = machine.tables.arena[machine.root(of: 0)]
    let frame = GuestPhysical(address).frame
    var path = EntryPath(
      in: machine.tables, root: root.frame, level: root.role.level, space: .normal,
      frame: frame)
    while path.stepDown(towards: frame) {}
    return path
  }

  /// The table that holds the entry of an address.
  func table(of address: UInt64) -> ShadowPageID {
    machine.tables.page(of: path(to: address).address.frame, machine.process.host)
  }

  /// Changes the entry of an address behind the machine's back.
  func corrupt(_ address: UInt64, _ change: (UInt64) -> UInt64) {
    let place = path(to: address).address
    let memory = machine.tables.memory
    memory.setEntry(change(memory.entry(at: place)), at: place)
  }
}
