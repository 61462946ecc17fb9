import GuestProcessor
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import SparseMemory
import VirtualMachine

/// The machine and the devices, as the processor sees them.
final class MachinePort: GuestPort {
  let machine: VirtualMachine
  let console: GuestConsole
  var devices: PlatformDevices
  var recent = RecentExits()
  /// Why the run is to end, once something said so.
  private(set) var ending: RunEnding?
  /// The processor that asks, once it is made.
  ///
  /// Unowned, because it holds the port and is asked at every fill; only its own calls use it.
  private unowned(unsafe) var owner: GuestProcessor.Processor?

  /// The processor, while it calls.
  private var processor: GuestProcessor.Processor? {
    // SAFETY: the port is called by the processor alone, which therefore lives.
    unsafe owner
  }

  /// Says whose port this is.
  func attach(to processor: GuestProcessor.Processor) {
    // SAFETY: see `owner`.
    unsafe owner = processor
  }

  private let tap: EventTap
  private let maximumExits: Int64
  /// The buffers under the machine, which must outlive it.
  private let host: SparseHost
  /// What is checked after an exit.
  var checks = RunConfiguration.Checks.none {
    didSet { reference = checks == .none ? nil : Reference(machine.configuration) }
  }
  /// Judges every access, once checks are asked for, which is before the guest runs.
  var reference: Reference?
  private var checkedExits: Int64 = 0
  private var exits: Int64 = 0
  private var level: UInt8 = 0
  private var alignmentCheck = false
  private var watched = WatchedStores()
  /// What the guest asked of its own paging.
  private(set) var operations = PagingOperations()
  /// What of the guest's memory is protected, and what was written there.
  var protection = MemoryProtection()

  /// The host frames of pages with protected bytes that the engine may write, each with the linear
  /// page by which the guest last asked for it.
  var watchedPages: [HostFrame: GuestVirtual] = [:]
  /// The linear page by which the guest last asked to write to each other page: a store that begins
  /// there may end in a page with protected bytes.
  var writtenPages: [HostFrame: GuestVirtual] = [:]
  /// What the instruction under way stored and is to be put back.
  var takenBack: [(HostPhysical, [UInt8])] = []

  override var watchesStores: Bool { protection.isOn }
  override func willStore(_ store: GuestStore) { judgeStore(store) }
  override func takesBackStep() -> Bool { takeBack() }

  init(
    machine: consuming VirtualMachine, on host: SparseHost, console: GuestConsole,
    devices: PlatformDevices, tap: EventTap, maximumExits: UInt64?
  ) {
    self.host = host
    self.machine = machine
    self.console = console
    self.tap = tap
    self.devices = devices
    self.maximumExits = maximumExits.map { Int64(clamping: $0) } ?? .max
  }

  /// Ends the run for a reason; the first counts.
  func end(_ reason: RunEnding) {
    if ending == nil { ending = reason }
    processor?.requestStop()
  }

  var rip: UInt64 { processor?.instructionPointer ?? 0 }

  // MARK: Memory

  override func fill(_ request: FillRequest) -> FillAnswer {
    // An access of the processor itself is a supervisor's, whatever the program's level.
    let level: UInt8 = request.privilege == .user ? 3 : 0
    if level != self.level || request.alignmentCheck != alignmentCheck {
      self.level = level
      alignmentCheck = request.alignmentCheck
      var registers = machine[registersOf: 0]
      registers.cpl = level
      registers.ac = request.alignmentCheck
      machine[registersOf: 0] = registers
    }
    machine.setInstructionPointer(rip, of: 0)
    if protection.isOn, let answer = watchedPage(request) { return answer }
    let verdict = reference?.expect(
      ReferenceAccess(.virtual(request.address), request.kind, request.privilege), in: machine)
    let outcome = machine.access(0, request.address, request.kind, request.privilege)
    if machine.takeOutsideFlush(0) { processor?.flushTranslations() }
    let exits = machine.statistic(.exits, of: 0)
    if exits != self.exits {
      self.exits = exits
      recent.add(.memory(rip: rip, request.address, request.kind))
      if exits > maximumExits {
        end(.exitLimit)
        return .stop
      }
    }
    if let verdict, let violation = violation(outcome, verdict) {
      end(.violation(violation.description))
      return .stop
    }
    switch outcome {
    case .translated(let translation):
      // An access that the machine performed in the guest's stead, because its tables lie in
      // protected bytes, leaves no right behind; the engine has to have the one that it asked for.
      let usable = PageGrant(rawValue: translation.usable.rawValue)
      if protection.isOn && request.kind == .write {
        writtenPages[translation.hostPhysical.frame] = GuestVirtual(request.address.raw & ~0xFFF)
      }
      return .filled(translation.hostPhysical.frame, usable.union(PageGrant(request.kind)))
    case .tableStore(let translation):
      watched.add(request.address, translation, in: machine.tables.memory)
      return .filledOnce(translation.hostPhysical.frame)
    case .pageFault(let errorCode): return .pageFault(errorCode: errorCode)
    case .device(let address): return .device(address.frame)
    case .failed(let reason, let address):
      end(.hostFailure("the host cannot give guest-physical \(hex(address.raw)): \(reason)"))
      return .stop
    case .stuck(let address):
      end(.hostFailure("the access to guest-physical \(hex(address.raw)) makes no progress"))
      return .stop
    case .subpageRefused(let translation):
      // Pages with protected bytes are answered before.
      end(.hostFailure("the write to \(hex(translation.guestPhysical.raw)) is refused"))
      return .stop
    case .subpageMiss(let address):
      end(.hostFailure("the sub-page permissions of \(hex(address.raw)) are not there"))
      return .stop
    case .subpageMisconfiguration(let address):
      end(.hostFailure("the sub-page permissions of \(hex(address.raw)) are malformed"))
      return .stop
    case .generalProtection:
      // The processor checks canonical addresses before it asks.
      end(.hostFailure("an address that is not canonical came to the machine"))
      return .stop
    }
  }

  /// The first rule that this access broke or, after an exit, that does not hold now.
  private func violation(_ outcome: AccessOutcome, _ verdict: ReferenceVerdict) -> Violation? {
    if let violation = reference?.judge(outcome, of: verdict, in: machine) { return violation }
    guard exits != checkedExits else { return nil }
    checkedExits = exits
    return MachineInspection.violation(
      in: machine, exits.isMultiple(of: 64) ? .everything : .machine)
  }

  /// Has the processor's hardware forget, and whoever judges it.
  private func forget(_ what: Invalidation) {
    machine.invalidate(0, what)
    reference?.invalidated(0, what, in: machine)
  }

  /// A store to a table of the guest's has been performed: the MMU is told which entries changed.
  override func storeCompleted(in page: GuestVirtual, frame: HostFrame) {
    let width = machine[registersOf: 0].cr4 >> 5 & 1 == 1 ? 8 : 4
    for (address, count) in watched.take(page, frame, entries: width, in: machine.tables.memory) {
      machine.stored(0, at: address, byteCount: count)
    }
    if machine.takeOutsideFlush(0) { processor?.flushTranslations() }
  }

  override func invalidate(_ address: GuestVirtual) {
    operations.invalidations += 1
    forget(.linearAddress(address))
  }

  override func invalidate(_ scope: InvalidationScope, pcid: UInt16, address: GuestVirtual) {
    operations.invalidations += 1
    switch scope {
    case .address: forget(.linearAddressIn(pcid: pcid, address))
    case .addressSpace: forget(.space(pcid: pcid))
    case .everything: forget(.allLinear)
    case .everythingButGlobal: forget(.allSpaces)
    }
  }

  // MARK: Control registers

  override func controlsWillChange(
    from old: ControlRegisters, to new: ControlRegisters, by instruction: ControlInstruction
  ) -> ControlVerdict {
    var registers = machine[registersOf: 0]
    registers.cr0 = new.cr0
    registers.cr3 = new.cr3
    registers.cr4 = new.cr4
    registers.efer = new.efer
    registers.pat = new.pat
    registers.pkru = new.pkru
    if new.loadsDirectoryPointers(after: old, by: instruction) {
      guard let pointers = readDirectoryPointers(new) else { return .generalProtection }
      registers.pdptes = pointers
    }
    machine[registersOf: 0] = registers
    guard instruction != .writePKRU else { return .accepted }
    operations.count(instruction)
    recent.add(.control(rip: rip, new))
    if let invalidation = new.invalidation(after: old, by: instruction) {
      forget(invalidation)
    }
    return .accepted
  }

  /// The four page-directory-pointer-table entries that PAE paging keeps in the processor; `nil`
  /// when one has a reserved bit (SDM volume 3A, "PDPTE Registers"; KVM: `load_pdptrs`).
  private func readDirectoryPointers(_ registers: ControlRegisters) -> InlineArray<4, UInt64>? {
    var pointers: InlineArray<4, UInt64> = .init(repeating: 0)
    let bits = UInt64(machine.configuration.guestPhysicalBits)
    // Bits 1 and 2, 5 to 8, and those above MAXPHYADDR.
    let reserved: UInt64 = 0x1E6 | ~0 << bits
    for index in 0..<4 {
      let address = registers.cr3 & 0xFFFF_FFE0 + UInt64(8 * index)
      guard let entry = readPhysical(GuestPhysical(address)) else { return nil }
      if entry & 1 != 0 && entry & reserved != 0 { return nil }
      pointers[index] = entry
    }
    return pointers
  }

  /// An 8-byte word of guest-physical memory, as the machine's owner reads it.
  func readPhysical(_ address: GuestPhysical) -> UInt64? {
    var word: [UInt64] = [0]
    var span = word.mutableSpan
    // SAFETY: a word has no padding, and the array outlives the read.
    var bytes = unsafe span.mutableBytes
    return machine.read(into: &bytes, from: address) == 8 ? word[0] : nil
  }

  // MARK: Devices

  override func readPort(_ port: UInt16, byteCount: Int) -> UInt32 {
    machine.count(.io_exits, of: 0)
    let value = devices.read(port, byteCount: byteCount)
    if !PlatformDevices.isConsole(port) { recent.add(.port(rip: rip, port, .input, value: value)) }
    return value
  }

  override func writePort(_ port: UInt16, byteCount: Int, value: UInt32) {
    guard ending == nil else { return }
    machine.count(.io_exits, of: 0)
    if !PlatformDevices.isConsole(port) { recent.add(.port(rip: rip, port, .output, value: value)) }
    switch devices.write(port, byteCount: byteCount, value) {
    case .none: break
    case .output(let byte): console.put(byte)
    case .exit(let value): end(.guestExit(value: value))
    }
  }

  override func readDevice(_ address: GuestPhysical, byteCount: Int) -> UInt64 {
    let value: UInt64
    if let offset = interruptControllerOffset(address) {
      let word = devices.interrupts.read(offset, now: processor?.now ?? 0)
      value = UInt64(word) >> (8 * (offset & 3))
    } else {
      value = .max
    }
    recent.add(.device(rip: rip, address, .input, value: value))
    tap.record(.mmio(.read, length: UInt32(byteCount), address, value: value))
    return value
  }

  override func writeDevice(_ address: GuestPhysical, byteCount: Int, value: UInt64) {
    guard ending == nil else { return }
    recent.add(.device(rip: rip, address, .output, value: value))
    tap.record(.mmio(.write, length: UInt32(byteCount), address, value: value))
    guard let offset = interruptControllerOffset(address), byteCount == 4 else { return }
    let effect = devices.interrupts.write(
      offset, UInt32(truncatingIfNeeded: value), now: processor?.now ?? 0)
    follow(effect)
  }

  private func interruptControllerOffset(_ address: GuestPhysical) -> UInt64? {
    guard address.raw >= LocalInterruptController.base else { return nil }
    let offset = address.raw - LocalInterruptController.base
    return offset < LocalInterruptController.byteCount ? offset : nil
  }

  private func follow(_ effect: LocalInterruptController.Effect) {
    if effect != .none { processor?.armTimer(at: devices.interrupts.deadline) }
    if effect == .interrupt { processor?.requestInterrupt() }
  }

  // MARK: Interrupts

  override var taskPriority: UInt8 {
    get { devices.interrupts.taskPriority }
    set { follow(devices.interrupts.setTaskPriority(newValue, now: processor?.now ?? 0)) }
  }

  override func acknowledgeInterrupt() -> UInt8? { devices.interrupts.acknowledge() }

  override func timerExpired() {
    follow(devices.interrupts.expire(now: processor?.now ?? 0))
  }

  override func willDeliver(_ event: GuestEvent) {
    recent.add(.delivered(rip: rip, event))
    guard event.origin != .external else { return }
    tap.record(
      .injectException(vector: event.vector, errorCode: event.errorCode))
  }
}

extension ControlRegisters {
  /// Whether paging is PAE paging: neither 32-bit nor IA-32e.
  fileprivate var usesPAE: Bool {
    cr0 >> 31 & 1 != 0 && cr4 >> 5 & 1 != 0 && efer >> 10 & 1 == 0
  }

  /// Whether this state, reached from `old` by a write, loads the PDPTE registers (SDM volume 3A,
  /// "PDPTE Registers").
  fileprivate func loadsDirectoryPointers(
    after old: ControlRegisters, by instruction: ControlInstruction
  ) -> Bool {
    guard usesPAE else { return false }
    return switch instruction {
    case .moveToCR3: true
    // CD, NW and PG.
    case .moveToCR0: (cr0 ^ old.cr0) & 0xE000_0000 != 0
    // PAE, PGE, PSE and SMEP.
    case .moveToCR4: (cr4 ^ old.cr4) & 0x10_00B0 != 0
    case .writeEFER, .writePAT, .writePKRU: false
    }
  }

  /// What a processor forgets when this state follows `old` (SDM volume 3A, "Operations that
  /// Invalidate TLBs and Paging-Structure Caches"); processors may forget more.
  fileprivate func invalidation(
    after old: ControlRegisters, by instruction: ControlInstruction
  ) -> Invalidation? {
    let isPagingChange = (cr0 ^ old.cr0) & 0x8001_0001 != 0 || efer != old.efer
    // PSE, PAE, PGE, LA57, PCIDE, SMEP, SMAP, PKE.
    if isPagingChange || (cr4 ^ old.cr4) & 0x72_10B0 != 0 { return .allLinear }
    return instruction == .moveToCR3(.forgotten) ? .currentSpace : nil
  }
}

/// A number as the reports print it.
func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
