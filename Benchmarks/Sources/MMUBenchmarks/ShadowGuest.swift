import CBaselines
import GuestMemory
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import ShadowMMU
import SparseMemory
import VirtualMachine
import X86Paging

/// What belongs to the guest's processor.
struct Vcpu: ~Copyable {
  var state = ShadowState()
  var registers = ControlRegisters()
}

/// A guest of 4-level paging on a machine with shadow paging, whose tables lie behind its pages.
///
/// The host has every page already, and every entry of the guest's is marked accessed and dirty, so
/// that what is measured is the shadow MMU. Frames of the guest's follow each other in the host.
final class ShadowGuest {
  let machine: VirtualMachine
  let buffers: SparseHost
  let base: HostVirtual
  private let vcpu: UnsafeMutablePointer<Vcpu>
  let statistics = CounterRow()
  let slot: Memslot
  /// What the baseline keeps beside the tables: 8 bytes for each page of the guest's, and more.
  let handRecords: SparseBuffer
  private var free: UInt64

  /// A guest with `data` pages and room for `tables` tables behind them; the topmost is made.
  init(data: UInt64, tables: UInt64) {
    let pages = data + tables
    guard let buffers = try? SparseHost(byteCount: 16 << 30),
      let process = try? HostAddressSpace(sharing: buffers.makeHost()),
      let base = try? process.add(
        HostRegionRequest(byteCount: pages << 12, backing: .anonymous(largestPage: .page4K))),
      let handRecords = try? SparseBuffer(byteCount: 1 << 28)
    else { fatalError("no address space") }
    for page in 0..<pages {
      _ = process.lookUp(base + page << 12, for: .write, telling: Unnotified())
    }
    self.buffers = buffers
    self.base = base
    self.handRecords = handRecords
    var configuration = MachineConfiguration()
    configuration.mmu = .shadow
    configuration.prefetch = .absent
    configuration.shadowPageLimit = 1 << 14
    machine = VirtualMachine(configuration, process: process)
    guard
      let _ = try? machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: pages << 12,
          hostAddress: base)),
      let slot = machine.slots.slot(containing: GuestFrame(0), in: .normal)
    else { fatalError("no slot") }
    self.slot = slot
    free = data
    vcpu = .allocate(capacity: 1)
    vcpu.initialize(to: Vcpu())
    registers.cr0 = 0x8001_0011
    registers.cr4 = 0x20
    registers.efer = 0xD00
    registers.cr3 = makeTable() << 12
  }

  deinit {
    releaseRoots()
    machine.shadow.freeBareTables(&state, machine.tables, machine.process.host)
    machine.tables.drain(&state.cache, to: machine.process.host)
    vcpu.deinitialize(count: 1)
    vcpu.deallocate()
  }

  // A processor lies behind a pointer, as a machine's do: nobody asks whether somebody else uses
  // it.

  var state: ShadowState {
    _read { yield vcpu.pointee.state }
    _modify { yield &vcpu.pointee.state }
  }

  var registers: ControlRegisters {
    _read { yield vcpu.pointee.registers }
    _modify { yield &vcpu.pointee.registers }
  }

  // MARK: The guest's own tables

  /// The frame of a table of the guest's that nobody uses yet.
  func makeTable() -> UInt64 {
    defer { free += 1 }
    return free
  }

  /// Where a byte of the guest's lies in host memory.
  func place(_ address: UInt64) -> HostPhysical {
    guard let page = machine.process.lookUpMapped(base + address, for: .write) else {
      fatalError("the host has every page")
    }
    return page.frame.address + address & 0xFFF
  }

  func set(_ word: UInt64, at address: UInt64) {
    machine.tables.memory.setEntry(word, at: place(address))
  }

  func word(at address: UInt64) -> UInt64 { machine.tables.memory.entry(at: place(address)) }

  /// Lets a linear address lead to a frame, making the tables on its way; the frame of the lowest.
  @discardableResult
  func map(_ linear: UInt64, to frame: UInt64, below root: UInt64? = nil) -> UInt64 {
    var table = root ?? registers.cr3 >> 12
    for shift in [39, 30, 21] as [UInt64] {
      let entry = table << 12 | (linear >> shift & 511) << 3
      if word(at: entry) == 0 { set(makeTable() << 12 | 0x67, at: entry) }
      table = word(at: entry) >> 12
    }
    set(frame << 12 | 0x67, at: table << 12 | (linear >> 12 & 511) << 3)
    return table
  }

  // MARK: What the processor does

  /// Takes over the registers and loads a root when none fits; whether one was loaded.
  @discardableResult func enter() -> Bool {
    _ = machine.shadow.adopt(
      registers, in: .normal, features: PagingFeatures(), &state, machine.tables, machine.slots,
      machine.process)
    guard state.root == .none else { return false }
    let load = machine.shadow.load(
      registers, &state, machine.tables, machine.slots, machine.process)
    guard load == .loaded else { fatalError("no root") }
    return true
  }

  /// Resolves a fault of a write.
  func fault(_ linear: UInt64, _ code: PageFaultErrorCode = [.write]) -> ShadowFaultOutcome {
    withUnsafePointer(to: machine) { machine in
      var guest = GuestTables(of: machine, in: .normal)
      return machine.pointee.shadow.fault(
        ShadowFault(
          address: GuestVirtual(linear), kind: .write, privilege: .supervisor, errorCode: code,
          processor: 0),
        registers, &state, machine.pointee.tables, machine.pointee.slots,
        machine.pointee.process, statistics, in: &guest, telling: Unnotified())
    }
  }

  /// Empties every leaf of the first `count` frames and keeps the tables.
  func emptyLeaves(of count: UInt64) {
    machine.tables.lock.lockExclusive()
    machine.shadow.zapLeaves(
      of: GuestFrame(0)..<GuestFrame(count), in: slot, machine.tables, machine.process.host
    ).pay(machine.tables.flusher)
    machine.tables.lock.unlockExclusive()
  }

  func releaseRoots() {
    machine.shadow.freeRoots(
      .all, &state, machine.tables, machine.slots, machine.process.host)
  }

  /// Zaps every shadow page, and loads the root anew.
  func startAgain() {
    releaseRoots()
    machine.shadow.invalidateAll(machine.tables)
    machine.shadow.zapObsolete(machine.tables, machine.slots, machine.process.host)
    machine.tables.reclaim(to: machine.process.host)
    enter()
  }

  // MARK: The baseline's view

  /// Everything that the C baselines need to make the same accesses.
  var world: baseline_shadow {
    let records = handRecords.unsafeBase.assumingMemoryBound(to: UInt64.self)
    return baseline_shadow(
      memory: buffers.memory.unsafeBase.assumingMemoryBound(to: UInt8.self),
      host_root: machine.process.root.address.raw,
      slot: baseline_slot(base: 0, count: slot.frameCount, host: base.raw),
      guest_root: registers.cr3 & ~0xFFF, shadow_root: shadowRoot, maps: records,
      translations: records + 1 << 20, rows: records + 1 << 21)
  }

  private var shadowRoot: UInt64 {
    machine.shadow.rootFrame(state, machine.tables)?.address.raw ?? 0
  }
}
