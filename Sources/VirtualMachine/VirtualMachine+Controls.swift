import HardwareModel
import PageTables
public import PagingUnits
public import X86Paging

/// Whether a processor accepted new values of its control registers.
public enum ControlOutcome: Hashable, Sendable {
  /// They stand, and what they make stale is forgotten.
  case accepted
  /// The instruction raises #GP(0); nothing changed.
  case generalProtection
}

/// The guest's writes to its control registers, with their refusals and what they make a processor
/// forget (SDM volume 3A, "Control Registers" and "Operations that Invalidate TLBs and
/// Paging-Structure Caches").
extension VirtualMachine {
  /// MOV to CR0.
  public func writeCR0(
    _ number: Int, _ value: UInt64, from code: CodeSegmentWidth
  ) -> ControlOutcome {
    accept(number, self[registersOf: number].writingCR0(value, from: code))
  }

  /// MOV to CR3; bit 63 of the value keeps translations under CR4.PCIDE.
  public func writeCR3(_ number: Int, _ value: UInt64) -> ControlOutcome {
    accept(
      number, self[registersOf: number].writingCR3(value, features: configuration.guestPaging))
  }

  /// MOV to CR4.
  public func writeCR4(_ number: Int, _ value: UInt64) -> ControlOutcome {
    accept(
      number,
      self[registersOf: number].writingCR4(value, reserved: configuration.lackingCR4))
  }

  /// WRMSR to IA32_EFER.
  public func writeEFER(_ number: Int, _ value: UInt64) -> ControlOutcome {
    accept(
      number,
      self[registersOf: number].writingEFER(value, reserved: configuration.reservedEFER))
  }

  /// Replaces the state as a whole, as a VMM does (KVM: `KVM_SET_SREGS`).
  ///
  /// EFER.LMA follows from LME and CR0.PG. Refused is what no sequence of instructions reaches.
  /// Every translation of the processor is forgotten.
  public func replaceControls(_ number: Int, with registers: ControlRegisters) -> ControlOutcome {
    var next = registers
    let isPaged = next.cr0 >> 31 & 1 == 1
    let isLong = isPaged && next.efer >> 8 & 1 == 1
    next.efer = next.efer & ~(1 << 10) | (isLong ? 1 << 10 : 0)
    let isProtected = next.cr0 & 1 == 1
    let cachesThrough = next.cr0 >> 29 & 3 == 1
    let isExtended = next.cr4 >> 5 & 1 == 1
    let identifies = next.cr4 >> 17 & 1 == 1
    guard
      next.cr0 >> 32 == 0, isProtected || !isPaged, !cachesThrough, isExtended || !isLong,
      isLong || !identifies, next.cr4 & configuration.lackingCR4 == 0,
      next.efer & configuration.reservedEFER == 0,
      next.cr3 >> UInt64(configuration.guestPhysicalBits) == 0
    else { return .generalProtection }
    guard !isPaged || isLong || !isExtended || load(&next, number) else {
      return .generalProtection
    }
    self[registersOf: number] = next
    invalidate(number, .allLinear)
    return .accepted
  }

  private func accept(_ number: Int, _ write: ControlWrite) -> ControlOutcome {
    guard case .written(var next, let effects) = write else { return .generalProtection }
    if effects.contains(.reloadPDPTEs), !load(&next, number) { return .generalProtection }
    self[registersOf: number] = next
    if effects.contains(.flushAll) || effects.contains(.flushCurrent) {
      invalidate(number, .allLinear)
    } else if effects.contains(.flushContext) {
      invalidate(number, .currentSpace)
    }
    return .accepted
  }

  /// Loads the four PDPTE registers of PAE paging; whether none has a reserved bit (KVM:
  /// `load_pdptrs`).
  private func load(_ registers: inout ControlRegisters, _ number: Int) -> Bool {
    operations.lock()
    defer { operations.unlock() }
    // SAFETY: the processor is the caller's own.
    let space = unsafe processor(number).pointee.space
    let rules = WalkRules(registers, features: configuration.guestPaging)
    let cr3 = registers.cr3
    // SAFETY: the machine is borrowed, and so stays in place, for the whole call.
    let load = unsafe withUnsafePointer(to: self) { machine in
      var tables = unsafe GuestTables(of: machine, in: space)
      return rules.loadPDPTEs(cr3: cr3, in: &tables)
    }
    guard case .loaded(let pointers) = load else { return false }
    registers.pdptes = pointers
    return true
  }
}
