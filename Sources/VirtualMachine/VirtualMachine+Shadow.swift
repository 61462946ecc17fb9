import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits
import ShadowMMU
import X86Paging

/// The trip of an access under shadow paging: the hardware walks the shadow tables, its page fault
/// comes to the MMU, and only what the guest's own tables refuse goes on to the guest.
extension VirtualMachine {
  func shadowAccess(
    _ number: Int, _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege
  ) -> AccessOutcome {
    // SAFETY: the board lives as long as the machine; the processor is the caller's own.
    let board = unsafe board
    let processor = unsafe processor(number)
    tables.quiet.enter(number)
    defer { tables.quiet.leave(number) }
    for _ in 0..<configuration.retryLimit {
      guard prepareShadow(number) else { return .failed(.noMemory, GuestPhysical(0)) }
      guard unsafe board.pointee.enterGuest(number) else {
        // Requests are served without a look under way, so that nothing waits for itself.
        tables.quiet.leave(number)
        serveRequests(number)
        tables.quiet.enter(number)
        continue
      }
      // SAFETY: the processor is the caller's own.
      let outcome = unsafe processor.pointee.hardware.translate(
        address, kind, privilege, processor.pointee.hardwareRegisters, through: .none)
      tables.interleaver.reach(.insideGuest, UInt64(number))
      unsafe board.pointee.leaveGuest(number)
      switch outcome {
      case .translated(let translation):
        return .translated(named(translation, address, number))
      case .generalProtection: return .generalProtection
      case .exit: preconditionFailure("there is no second dimension to leave the guest for")
      case .pageFault(let code):
        let fault = ShadowFault(
          address: linear(address, number), kind: kind, privilege: privilege,
          errorCode: PageFaultErrorCode(rawValue: UInt64(code)), processor: UInt32(number))
        if let outcome = handle(fault, number) { return outcome }
      }
    }
    return .stuck(GuestPhysical(0))
  }

  /// The address as far as the guest's mode translates it.
  func linear(_ address: GuestVirtual, _ number: Int) -> GuestVirtual {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.shadow.rules.addressBits > 32
      ? address : GuestVirtual(address.raw & 0xFFFF_FFFF)
  }

  /// A translation with the guest's own physical address, which the hardware does not know.
  private func named(
    _ translation: Translation, _ address: GuestVirtual, _ number: Int
  ) -> Translation {
    var named = translation
    // SAFETY: the processor is the caller's own.
    let found = unsafe shadow.translation(
      of: linear(address, number), processor(number).pointee.shadow, tables, process.host)
    named.guestPhysical = found ?? GuestPhysical(0)
    return named
  }

  /// Takes a page fault of the hardware's to the MMU; `nil` means that the access is tried again.
  private func handle(_ fault: ShadowFault, _ number: Int) -> AccessOutcome? {
    // SAFETY: the processor is the caller's own, and nothing else borrows its state.
    let processor = unsafe processor(number)
    unsafe processor.pointee.counters.add(to: .exits)
    tables.tap.record(
      .pageFault(
        vcpu: fault.processor, rip: unsafe processor.pointee.instructionPointer,
        address: fault.address.raw, errorCode: fault.errorCode.rawValue))
    let space = unsafe processor.pointee.space
    // SAFETY: the machine is borrowed, and so stays in place, for the whole call; the reader's
    // section keeps the memslots.
    let outcome = unsafe withUnsafePointer(to: self) { machine in
      var guest = unsafe GuestTables(of: machine, in: space)
      return unsafe machine.pointee.shadow.fault(
        fault, processor.pointee.registers, &processor.pointee.shadow, machine.pointee.tables,
        machine.pointee.slots, machine.pointee.process, processor.pointee.counters, in: &guest,
        telling: machine.pointee)
    }
    switch outcome {
    case .fixed, .spurious: return nil
    case .retry:
      // Whoever is in the way has to get on first, and may be waiting for this look to end.
      tables.quiet.leave(number)
      tables.interleaver.reach(.waitingForLock)
      tables.quiet.enter(number)
      return nil
    case .guestFault(let code):
      unsafe processor.pointee.counters.add(to: .pf_guest)
      if code.contains(.present) && !code.contains(.reserved) {
        // SAFETY: the processor is the caller's own.
        unsafe shadow.forgetRefused(
          fault.address, &processor.pointee.shadow, tables, slots, process)
      }
      return .pageFault(errorCode: code.guestCode)
    case .nonCanonical: return .generalProtection
    case .emulate(let address):
      unsafe processor.pointee.counters.add(to: .mmio_exits)
      return .device(address)
    case .writeProtected(let address): return tableStore(at: address, number)
    case .failed(let reason, let address): return .failed(Self.failure(reason), address)
    }
  }

  private func tableStore(at address: GuestPhysical, _ number: Int) -> AccessOutcome {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    switch place(of: address, for: .write, in: unsafe processor.pointee.space) {
    case .at(let host, _, _):
      unsafe processor.pointee.counters.add(to: .insn_emulation)
      return .tableStore(
        Translation(
          hostPhysical: host, guestPhysical: address, level: .page4K, usable: .read,
          isGlobal: false))
    case .absent, .readOnly: return .device(address)
    case .failed(.poisoned): return .failed(.poisoned, address)
    case .failed(.refused): return .failed(.noMemory, address)
    case .failed: return .failed(.badAddress, address)
    }
  }

  private static func failure(_ reason: ShadowFailure) -> FaultOutcome.HostFailure {
    switch reason {
    case .badAddress: .badAddress
    case .poisoned: .poisoned
    case .noMemory: .noMemory
    }
  }

  /// An access that bypasses the guest's own paging is the hypervisor's under shadow paging.
  func shadowAccess(
    _ number: Int, _ address: GuestPhysical, _ kind: AccessKind
  ) -> AccessOutcome {
    let outcome = emulatedAccess(number, address, kind)
    if Mutation.storeByAddressNotTold.isActive { return outcome }
    guard kind == .write, case .translated(var translation) = outcome else { return outcome }
    translation.usable = .read
    return .tableStore(translation)
  }

  // MARK: Before the guest is entered

  /// Takes over what the guest did to its registers and loads a root if none is there; `false`
  /// when the host refuses memory.
  private func prepareShadow(_ number: Int) -> Bool {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    adopt(number)
    tables.lock.lockShared()
    let isObsolete = unsafe shadow.isObsolete(processor.pointee.shadow, tables)
    tables.lock.unlockShared()
    if isObsolete { freeObsoleteShadow(number) }
    if unsafe processor.pointee.shadow.root == .none {
      let load = unsafe shadow.load(
        processor.pointee.registers, &processor.pointee.shadow, tables, slots, process)
      precondition(load != .mistaken, "a processor's bare tables are those of its own MMU")
      guard load == .loaded else { return false }
      if !Mutation.loadedRootNotFlushed.isActive { flush(number) }
      // SAFETY: the board lives as long as the machine.
      unsafe board.pointee.requestOutsideFlush(number)
    }
    unsafe processor.pointee.hardwareRegisters = hardwareRegisters(number)
    return true
  }

  /// Takes over what the guest did to its registers.
  func adopt(_ number: Int) {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    _ = unsafe shadow.adopt(
      processor.pointee.registers, in: processor.pointee.space,
      features: configuration.guestPaging, &processor.pointee.shadow, tables, slots, process)
  }

  /// The registers with which the hardware runs: its tables are always of PAE paging at least, with
  /// write protection and execute-disable bits (KVM: shadow paging's `guest_owned` bits).
  private func hardwareRegisters(_ number: Int) -> ControlRegisters {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    var registers = unsafe processor.pointee.registers
    let isPaged = CR0Layout.paging.isSet(in: registers.cr0)
    let identifies = CR4Layout.contextIdentifiers.isSet(in: registers.cr4)
    registers.cr0 |=
      CR0Layout.protection.mask | CR0Layout.paging.mask
      | (Mutation.guestWPReachesHardware.isActive ? 0 : CR0Layout.writeProtect.mask)
    registers.cr4 |= CR4Layout.physicalAddressExtension.mask
    registers.cr4 &= ~CR4Layout.protectionKeys.mask
    if !isPaged && !Mutation.smepSMAPLiveWhileUnpaged.isActive {
      // Every page is a user's there, which these would keep from a supervisor.
      registers.cr4 &=
        ~(CR4Layout.executionPrevention.mask | CR4Layout.accessPrevention.mask)
    }
    if !Mutation.shadowNXFlaggedReserved.isActive {
      registers.efer |= EFERLayout.noExecute.mask
    }
    guard let root = unsafe shadow.rootFrame(processor.pointee.shadow, tables) else {
      return registers
    }
    registers.cr3 = root.address.raw | (identifies ? registers.cr3 & 0xFFF : 0)
    // SAFETY: the processor is the caller's own.
    if unsafe processor.pointee.shadow.rootRole.depth == 3 {
      // An entry to the guest loads the PDPTE registers (SDM volume 3C, "Loading Page-Directory-
      // Pointer-Table Entries"; APM volume 2, "Legacy PAE Mode" of "VMRUN").
      for index in 0..<4 {
        registers.pdptes[index] = unsafe processor.pointee.hardware.directoryPointer(
          index, under: registers.cr3)
      }
    } else {
      // CR3 of PAE paging has 32 bits (KVM: `svm_load_mmu_pgd`).
      let isForgotten = Mutation.rootPointerMissesEncryption.isActive
      registers.cr3 |= isForgotten ? 0 : tables.encoding.encryption
    }
    return registers
  }

  func freeObsoleteShadow(_ number: Int) {
    // SAFETY: the processor is the caller's own.
    unsafe shadow.freeRoots(
      .obsolete, &processor(number).pointee.shadow, tables, slots, process.host)
  }

  /// Gives back what a processor that goes has.
  func endShadow(_ processor: UnsafeMutablePointer<VirtualProcessor>) {
    // SAFETY: the processor is initialised, and nobody runs a machine that ends.
    unsafe shadow.freeRoots(.all, &processor.pointee.shadow, tables, slots, process.host)
    unsafe shadow.freeBareTables(&processor.pointee.shadow, tables, process.host)
    unsafe tables.drain(&processor.pointee.shadow.cache, to: process.host)
  }
}
