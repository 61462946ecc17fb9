public import HardwareModel
public import PagingUnits
public import VirtualMachine

/// What processors forget, as the reference is told or finds out.
extension Reference {
  /// Follows an invalidation that a processor has just made, as `VirtualMachine.invalidate` does.
  public mutating func invalidated(
    _ processor: Int, _ what: Invalidation, in machine: borrowing VirtualMachine
  ) {
    let mode = ReferenceMode(machine[registersOf: processor], configuration)
    remembered[processor].forget(what, mode)
    if configuration.mmu == .shadow { overwritten.forget(what, mode, by: processor) }
  }

  /// A register that an instruction of the guest wrote.
  public enum WrittenRegister: Hashable, Sendable {
    /// MOV to CR0.
    case cr0
    /// MOV to CR3 of this value, bit 63 included.
    case cr3(UInt64)
    /// MOV to CR4.
    case cr4
    /// WRMSR to IA32_EFER.
    case efer
    /// All of them, replaced by the VMM (KVM: `KVM_SET_SREGS`).
    case everything
  }

  /// Follows a register's writing, which the processor accepted, by what the manual says that it
  /// must forget at the least (SDM volume 3A, "Operations that Invalidate TLBs and Paging-Structure
  /// Caches").
  ///
  /// - Parameters:
  ///   - processor: the processor.
  ///   - register: what was written.
  ///   - old: all registers before.
  ///   - machine: the machine, in which the registers are the new ones.
  public mutating func wrote(
    _ processor: Int, _ register: WrittenRegister, from old: ControlRegisters,
    in machine: borrowing VirtualMachine
  ) {
    let new = machine[registersOf: processor]
    let (became, ceased) = (new.cr4 & ~old.cr4, old.cr4 & ~new.cr4)
    let what: Invalidation?
    switch register {
    case .cr0: what = (old.cr0 & ~new.cr0) >> 31 & 1 == 1 ? .allLinear : nil
    case .cr3(let value): what = (new.cr4 >> 17) & (value >> 63) == 1 ? nil : .currentSpace
    case .cr4:
      // PGE and PCIDE for every space; PAE and SMEP for the current one.
      if (became | ceased) >> 7 & 1 == 1 || ceased >> 17 & 1 == 1 {
        what = .allLinear
      } else {
        what = (became | ceased) >> 5 & 1 == 1 || became >> 20 & 1 == 1 ? .currentSpace : nil
      }
    case .efer: what = nil
    case .everything: what = .allLinear
    }
    if let what { invalidated(processor, what, in: machine) }
  }
}
