import GuestMemory
import HostMemory
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine with one slot of guest memory at 0, on a host of its own.
struct Bench: ~Copyable {
  // Fields end in this order: the buffers outlive the machine on them.
  let machine: VirtualMachine
  let buffers: SparseHost
  /// Where slot 0 lies in the host process.
  let base: HostVirtual

  init(
    _ configuration: MachineConfiguration = MachineConfiguration(), slot: UInt64 = 64 << 20,
    backing: Level = .page4K, host hostBytes: UInt64 = 8 << 30,
    watch: VirtualMachine.Watch = VirtualMachine.Watch()
  ) throws {
    let buffers = try SparseHost(byteCount: hostBytes)
    let host = buffers.makeHost()
    let process = try HostAddressSpace(sharing: host)
    let base = try process.add(
      HostRegionRequest(byteCount: slot, backing: .anonymous(largestPage: backing)))
    let machine = VirtualMachine(configuration, process: process, watch: watch)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: slot, hostAddress: base))
    self.buffers = buffers
    self.base = base
    self.machine = machine
  }

  /// Writes 8-byte words as the VMM.
  func write(_ words: [UInt64], at address: UInt64) {
    let done = unsafe machine.write(words.span.bytes, to: GuestPhysical(address))
    precondition(done == words.count * 8, "a test writes inside its slot")
  }

  /// Reads an 8-byte word as the VMM.
  func read(_ address: UInt64) -> UInt64? {
    var words: [UInt64] = [0]
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    let done = machine.read(into: &bytes, from: GuestPhysical(address))
    return done == 8 ? words[0] : nil
  }
}
