import DirectMMU
import HardwareModel
import MachineEvents
import Mutations
import PageTables
public import PagingUnits
import X86Paging

/// The trip of an access: the processor walks, exits, the MMU makes it so, the processor retries.
extension VirtualMachine {
  /// Performs one access of a processor as far as its address goes.
  ///
  /// * `number`: the processor; the caller is the thread that runs it.
  /// * `address`: the linear address.
  /// * `kind`: what the access does.
  /// * `privilege`: on whose behalf; explicit accesses follow the registers' CPL.
  /// * `byteCount`: how many bytes of the page it touches; only sub-page write permissions care.
  public func access(
    _ number: Int, _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    byteCount: UInt64 = 1
  ) -> AccessOutcome {
    if configuration.mmu == .shadow { return shadowAccess(number, address, kind, privilege) }
    // SAFETY: `travel` hands out the caller's own processor.
    return unsafe travel(number, byteCount) { processor, dimension in
      // SAFETY: the pointer is the caller's own processor.
      unsafe processor.pointee.hardware.translate(
        address, kind, privilege, processor.pointee.registers, through: dimension,
        byteCount: byteCount)
    } performing: {
      emulatedAccess(number, address, kind, privilege, byteCount: byteCount)
    }
  }

  /// Performs one access that bypasses the guest's own paging.
  ///
  /// * `byteCount`: how many bytes of the page it touches; only sub-page write permissions care.
  public func access(
    _ number: Int, _ address: GuestPhysical, _ kind: AccessKind, byteCount: UInt64 = 1
  ) -> AccessOutcome {
    if configuration.mmu == .shadow { return shadowAccess(number, address, kind) }
    return unsafe travel(number, byteCount) { processor, dimension in
      // SAFETY: the pointer is the caller's own processor.
      unsafe processor.pointee.hardware.translate(
        guestPhysical: address, kind, through: dimension)
    } performing: {
      emulatedAccess(number, address, kind, byteCount: byteCount)
    }
  }

  private func travel(
    _ number: Int, _ byteCount: UInt64,
    _ walk: (UnsafeMutablePointer<VirtualProcessor>, SecondDimension) -> HardwareOutcome,
    performing perform: () -> AccessOutcome
  ) -> AccessOutcome {
    let processor = unsafe processor(number)
    // SAFETY: the board lives as long as the machine; the processor is the caller's own.
    let board = unsafe board
    if !Mutation.memslotsReadOutsideGuard.isActive { tables.quiet.enter(number) }
    defer { tables.quiet.leave(number) }
    var last = GuestPhysical(0)
    for _ in 0..<configuration.retryLimit {
      guard unsafe board.pointee.enterGuest(number) else {
        // Requests are served without a look under way, so that nothing waits for itself.
        tables.quiet.leave(number)
        serveRequests(number)
        tables.quiet.enter(number)
        continue
      }
      if unsafe processor.pointee.root == .none {
        unsafe board.pointee.leaveGuest(number)
        guard loadRoot(number) else { return .failed(.noMemory, GuestPhysical(0)) }
        continue
      }
      let dimension = unsafe secondDimension(of: processor.pointee.root)
      let outcome = unsafe walk(processor, dimension)
      tables.interleaver.reach(.insideGuest, UInt64(number))
      unsafe board.pointee.leaveGuest(number)
      switch outcome {
      case .translated(let translation): return .translated(translation)
      case .pageFault(let errorCode): return .pageFault(errorCode: errorCode)
      case .generalProtection: return .generalProtection
      case .exit(let exit):
        switch handle(exit, number, last: &last) {
        case .again: continue
        case .ended(let outcome): return outcome
        case .judged(let page):
          // Sub-pages judge the page's writes, and the processor refused this one.
          let settled = settleSubpageWrite(exit, at: page, number, byteCount: byteCount, perform)
          if let settled { return settled }
        }
      }
    }
    return .stuck(last)
  }

  /// What the hardware walks in the second dimension.
  func secondDimension(of root: ShadowPageID) -> SecondDimension {
    let frame = tables.arena[root].frame.address.raw
    switch configuration.vendor {
    case .intel:
      // Write-back (6), the number of levels less one, and A/D use in bit 6 (KVM:
      // `construct_eptp`).
      let levels = UInt64(configuration.rootLevel.depth) - 1
      let asks = tables.encoding.hasAccessedDirty && !Mutation.accessedDirtyNotAskedFor.isActive
      let accessedDirty: UInt64 = asks ? 1 << 6 : 0
      return .ept(eptp: frame | 6 | levels << 3 | accessedDirty)
    case .amd:
      return .npt(
        ncr3: frame | tables.encoding.encryption,
        levels: configuration.rootLevel == .level5 ? .five : .four)
    }
  }

  /// What came of an exit.
  private enum Handled {
    /// The access is tried again.
    case again
    /// The access has ended.
    case ended(AccessOutcome)
    /// The write goes to a page, in this frame, whose writes are judged by sub-pages.
    case judged(HostFrame)
  }

  /// Takes an exit to the MMU.
  private func handle(
    _ exit: HardwareExit, _ number: Int, last: inout GuestPhysical
  ) -> Handled {
    if case .subpageEvent(let qualification, let address, _) = exit {
      last = address
      let outcome = handleSubpageEvent(qualification, address, number)
      return outcome.map { .ended($0) } ?? .again
    }
    let request = faultRequest(for: exit, number)
    last = request.address
    // SAFETY: the processor is the caller's own, and nothing else borrows its fault state.
    let processor = unsafe processor(number)
    let outcome = unsafe direct.fault(
      request, in: processor.pointee.root, &processor.pointee.faultState, tables, slots, process,
      processor.pointee.counters, telling: self)
    switch outcome {
    case .fixed, .spurious, .writeProtected: return .again
    case .subpage(let page): return .judged(page)
    case .retry:
      // Whoever is in the way has to get on first, and may be waiting for this look to end.
      if Mutation.prefaultDeadlocksSlotDelete.isActive {
        tables.interleaver.reach(.waitingForLock)
        return .again
      }
      tables.quiet.leave(number)
      tables.interleaver.reach(.waitingForLock)
      tables.quiet.enter(number)
      return .again
    case .emulate:
      unsafe processor.pointee.counters.add(to: .mmio_exits)
      return .ended(.device(request.address))
    case .failed(let reason): return .ended(.failed(reason, request.address))
    }
  }

  /// The exit in the terms of a fault, with its tracepoints (KVM: `handle_ept_violation`,
  /// `handle_ept_misconfig`, `npf_interception`).
  private func faultRequest(for exit: HardwareExit, _ number: Int) -> FaultRequest {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    unsafe processor.pointee.counters.add(to: .exits)
    let rip = unsafe processor.pointee.instructionPointer
    let vcpu = UInt32(number)
    let address: GuestPhysical
    let code: PageFaultErrorCode
    switch exit {
    case .eptViolation(let qualification, let guestPhysical, _):
      address = guestPhysical
      code = PageFaultErrorCode(eptViolation: qualification)
      tables.tap.record(
        .exit(vcpu: vcpu, .eptViolation, rip: rip, info1: qualification, info2: 0))
      tables.tap.record(
        .pageFault(vcpu: vcpu, rip: rip, address: address.raw, errorCode: qualification))
    case .eptMisconfiguration(let guestPhysical):
      address = guestPhysical
      code = .reserved
      tables.tap.record(.exit(vcpu: vcpu, .eptMisconfiguration, rip: rip, info1: 0, info2: 0))
    case .subpageEvent:
      preconditionFailure("an event of sub-page write permissions is no fault")
    case .modificationLogFull:
      preconditionFailure("the machine has its processors keep no log of modified pages")
    case .nestedPageFault(let errorCode, let guestPhysical):
      address = guestPhysical
      code = PageFaultErrorCode(rawValue: errorCode)
      tables.tap.record(
        .exit(vcpu: vcpu, .nestedPageFault, rip: rip, info1: errorCode, info2: address.raw))
      tables.tap.record(
        .pageFault(vcpu: vcpu, rip: rip, address: address.raw, errorCode: errorCode))
    }
    return FaultRequest(address: address, errorCode: code, processor: vcpu)
  }
}
