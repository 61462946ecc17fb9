public import PagingUnits

/// A virtual processor as the notes of a core describe it.
public struct CoreProcessor: Hashable, Sendable {
  /// RIP.
  public var instructionPointer: UInt64
  /// RSP.
  public var stackPointer: UInt64
  /// RFLAGS.
  public var flags: UInt64
  /// The selector of CS; its low two bits are the privilege level in protected mode.
  public var codeSelector: UInt16
  /// CR0 to CR4 from the hypervisor's note; `nil` when there is none, as in kdump's cores.
  public var control: CoreControl?

  /// A processor of which nothing is known yet.
  init() {
    instructionPointer = 0
    stackPointer = 0
    flags = 0
    codeSelector = 0
    control = nil
  }
}

/// The control registers of a "QEMU" note.
public struct CoreControl: Hashable, Sendable {
  /// CR0.
  public var cr0: UInt64
  /// CR2.
  public var cr2: UInt64
  /// CR3.
  public var cr3: UInt64
  /// CR4.
  public var cr4: UInt64
}

extension CoreProcessor {
  /// The registers that take part in paging, for a core of `architecture`; `nil` when no note has
  /// the control registers.
  ///
  /// No note has EFER. A dump's machine is x86-64 exactly when the first processor was in long
  /// mode, which gives LME and LMA; NX is taken to be on wherever the format has the bit. PKRU is
  /// in no note either and is 0.
  public func registers(in architecture: ELFCore.Architecture) -> ControlRegisters? {
    guard let control else { return nil }
    var registers = ControlRegisters()
    registers.cr0 = control.cr0
    registers.cr2 = control.cr2
    registers.cr3 = control.cr3
    registers.cr4 = control.cr4
    let pagingIsOn = control.cr0 >> 31 & 1 == 1
    let entriesAreWide = control.cr4 >> 5 & 1 == 1
    if pagingIsOn && entriesAreWide {
      registers.efer = architecture == .x86_64 ? 0xD00 : 0x800
    }
    registers.cpl = control.cr0 & 1 == 1 ? UInt8(codeSelector & 3) : 0
    registers.ac = flags >> 18 & 1 == 1
    return registers
  }
}
