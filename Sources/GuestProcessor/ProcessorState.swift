public import PagingUnits

/// The registers of a guest processor, for reports.
public struct ProcessorState: Hashable, Sendable {
  /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8…R15.
  public var general: [UInt64]
  /// The instruction pointer.
  public var rip: UInt64
  /// RFLAGS.
  public var flags: UInt64
  /// CS, SS, DS, ES, FS, GS.
  public var segments: [UInt16]
  /// The registers of paging.
  public var controls: ControlRegisters
  /// Base and limit of the GDT and the IDT.
  public var gdt: (base: UInt64, limit: UInt32), idt: (base: UInt64, limit: UInt32)

  /// Compares every register.
  public static func == (left: Self, right: Self) -> Bool {
    left.general == right.general && left.rip == right.rip && left.flags == right.flags
      && left.segments == right.segments && left.controls == right.controls
      && left.gdt == right.gdt && left.idt == right.idt
  }

  /// Feeds what identifies a state.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(general)
    hasher.combine(rip)
  }
}

extension Processor {
  /// The registers now.
  public var state: ProcessorState {
    var controls = self.controls
    controls.cr2 = engine[.cr2]
    controls.cpl = engine.privilegeLevel
    controls.ac = engine[.flags] & 1 << 18 != 0
    let gdt = engine.table(.gdtr)
    let idt = engine.table(.idtr)
    return ProcessorState(
      general: (0..<16).map { engine[.general($0)] }, rip: engine[.rip], flags: engine[.flags],
      segments: [.cs, .ss, .ds, .es, .fs, .gs].map { (register: Register) in
        UInt16(truncatingIfNeeded: engine[register])
      },
      controls: controls, gdt: (gdt.base, gdt.limit), idt: (idt.base, idt.limit))
  }
}
