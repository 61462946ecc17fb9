import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import MachineSimulation
import PageTables
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine of two processors with one slot at 0, run by a scheduler.
///
/// A class, so that bodies hold it and a run that gets stuck leaks it.
final class World: MischiefTarget, @unchecked Sendable {
  // Sendable: one thread runs at a time. Fields end in this order.
  let machine: VirtualMachine
  let buffers: SparseHost
  let scheduler: Scheduler
  /// Where slot 0 lies in the host process, on a 2 MiB boundary.
  let base: HostVirtual
  static let slotBytes: UInt64 = 4 << 20
  /// The page that everybody quarrels about.
  static let page = GuestPhysical(0x5000)

  /// How the host process's pages lie at first.
  enum Backing: Int, Comparable {
    /// Small pages that stay small.
    case small
    /// Small pages that can become large: a large one was split.
    case split
    /// Large pages.
    case large

    static func < (first: Backing, second: Backing) -> Bool { first.rawValue < second.rawValue }
  }

  init(
    _ scheduler: Scheduler, backing: Backing = .small,
    configure: (inout MachineConfiguration) -> Void = { _ in }
  ) throws {
    var configuration = MachineConfiguration()
    configuration.processors = 2
    configuration.translationSets = 8
    configure(&configuration)
    var watch = VirtualMachine.Watch()
    watch.interleaver = scheduler.interleaver
    let buffers = try SparseHost(byteCount: 1 << 30)
    let host = buffers.makeHost()
    let process = try HostAddressSpace(sharing: host)
    let base = try process.add(
      HostRegionRequest(
        byteCount: Self.slotBytes,
        backing: .anonymous(largestPage: backing == .small ? .page4K : .page2M)))
    precondition(
      backing == .small || base.offset(in: .page2M) == 0,
      "the process aligns regions to their pages")
    let machine = VirtualMachine(configuration, process: process, watch: watch)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: Self.slotBytes,
        hostAddress: base))
    self.scheduler = scheduler
    self.buffers = buffers
    self.base = base
    self.machine = machine
    // Everything is in place, so that the world can be used.
    if backing == .split {
      _ = write(1, to: GuestPhysical(0))
      _ = self.machine.splitHost(base)
    }
  }

  /// The host's address of the page in question.
  var hostPage: HostVirtual { base + Self.page.raw }
  var hostRange: Range<HostVirtual> { hostPage..<(hostPage + 4096) }

  /// Writes a word as the VMM.
  func write(_ word: UInt64, to address: GuestPhysical) -> Bool {
    let words = [word]
    return unsafe machine.write(words.span.bytes, to: address) == 8
  }

  /// Reads a word as the VMM.
  func read(_ address: GuestPhysical) -> UInt64? {
    var words: [UInt64] = [0]
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    return machine.read(into: &bytes, from: address) == 8 ? words[0] : nil
  }

  /// What a processor finds in guest memory at an address.
  func load(_ processor: Int, _ address: GuestPhysical) -> UInt64? {
    guard case .translated(let translation) = machine.access(processor, address, .read) else {
      return nil
    }
    return machine.tables.memory.entry(at: translation.hostPhysical)
  }

  func withMachine(_ body: (borrowing VirtualMachine) -> Void) { body(machine) }

  /// Everything that must hold of the machine now that nobody runs.
  func violation() -> Violation? {
    MachineInspection.violation(in: machine, of: 0)
      ?? MachineInspection.violation(in: machine, of: 1)
  }
}
