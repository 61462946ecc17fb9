import CBaselines
import DirectMMU
import GuestMemory
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import SparseMemory
import VirtualMachine
import X86Paging

/// A machine whose host has every page already.
///
/// The baseline walks the very same tables: the host process's and ours. It installs and empties
/// raw entries and leaves the tables as it found them, so that no account is wrong afterwards.
final class Faulter {
  static let pages: UInt64 = 1 << 18
  let machine: VirtualMachine
  let handRecords: SparseBuffer
  let buffers: SparseHost
  let base: HostVirtual
  var state = FaultState()
  let statistics = CounterRow()
  let root: ShadowPageID

  init() {
    guard let buffers = try? SparseHost(byteCount: 16 << 30),
      let process = try? HostAddressSpace(sharing: buffers.makeHost()),
      let base = try? process.add(
        HostRegionRequest(byteCount: Self.pages << 12, backing: .anonymous(largestPage: .page4K))),
      let handRecords = try? SparseBuffer(byteCount: 1 << 28)
    else { fatalError("no address space") }
    for page in 0..<Self.pages {
      _ = process.lookUp(base + page << 12, for: .write, telling: Unnotified())
    }
    self.buffers = buffers
    self.base = base
    self.handRecords = handRecords
    var configuration = MachineConfiguration()
    configuration.prefetch = .absent
    machine = VirtualMachine(configuration, process: process)
    guard
      let _ = try? machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: Self.pages << 12,
          hostAddress: base))
    else { fatalError("no slot") }
    _ = machine.tables.topUp(&state.cache, from: machine.process.host)
    root = machine.direct.root(of: .normal, machine.tables, &state.cache)
    // The tables stand before anything is timed.
    for page in stride(from: UInt64(0), to: Self.pages, by: 512) { fault(page) }
    _ = zap(Int(Self.pages))
  }

  deinit {
    machine.direct.putRoot(root, machine.tables)
    machine.tables.drain(&state.cache, to: machine.process.host)
  }

  @discardableResult func fault(_ page: UInt64) -> FaultOutcome {
    machine.direct.fault(
      FaultRequest(
        address: GuestPhysical(page << 12), errorCode: [.write, .guestFinal], processor: 0),
      in: root, &state, machine.tables, machine.slots, machine.process, statistics,
      telling: Unnotified())
  }

  /// Pages in an order that no prefetcher guesses: a step that shares no factor with their number.
  ///
  /// Each depends on the last answer, which is page-aligned: one fault is handled after another.
  private func page(_ index: Int, after answer: UInt64) -> UInt64 {
    UInt64(index) &* 40_503 & (Self.pages - 1) ^ answer & 0xFFF
  }

  func faults(_ count: Int) -> UInt64 {
    var fixed: UInt64 = 0
    var answer: UInt64 = 0
    for index in 0..<count {
      let outcome = fault(page(index, after: answer))
      if outcome == .fixed { fixed += 1 }
      answer = outcome == .emulate ? 1 : 0
    }
    return fixed
  }

  private var bytes: UnsafeMutablePointer<UInt8> {
    buffers.memory.unsafeBase.assumingMemoryBound(to: UInt8.self)
  }

  private var nestedRoot: UInt64 { machine.tables.arena[root].frame.address.raw }

  func baseline(_ count: Int) -> UInt64 {
    var slot = baseline_slot(base: 0, count: Self.pages, host: base.raw)
    var sum: UInt64 = 0
    for index in 0..<count {
      sum = baseline_fault(
        bytes, &slot, machine.process.root.address.raw, nestedRoot, page(index, after: sum) << 12)
    }
    return sum
  }

  func zap(_ count: Int) -> UInt64 {
    machine.tables.lock.lockExclusive()
    let before = machine.tables.counters.value(of: .pages_4k)
    machine.direct.zapLeaves(
      of: GuestFrame(0)..<GuestFrame(UInt64(count)), in: .normal, .all, machine.tables,
      machine.process.host
    ).pay(machine.tables.flusher)
    machine.tables.lock.unlockExclusive()
    return UInt64(before - machine.tables.counters.value(of: .pages_4k))
  }

  func baselineZap(_ count: Int) -> UInt64 {
    baseline_zap(
      bytes, handRecords.unsafeBase.assumingMemoryBound(to: UInt8.self), nestedRoot, 0,
      UInt64(count))
  }
}
