import MachineEvents
import PagingUnits

extension TextBuffer {
  /// Writes an event of the software walk of a guest's tables.
  mutating func appendWalkEvent(_ event: MachineEvent) {
    switch event {
    case .pagetableWalk(let address, let errorCode):
      field("addr ", hex: address)
      appendErrorCode(UInt64(errorCode), after: " pferr ")
    case .pagingElement(let entry, let depth):
      field("pte ", hex: entry)
      field(" level ", UInt64(depth))
    case .setAccessedBit(let address), .setDirtyBit(let address):
      field("gpa ", hex: address.raw)
    case .walkerError(let errorCode): appendErrorCode(UInt64(errorCode), after: "pferr ")
    default: preconditionFailure("only events of a walk come here")
    }
  }

  /// Writes `pferr %x %s`; the space stays when there are no flags.
  private mutating func appendErrorCode(_ code: UInt64, after label: StaticString) {
    field(label, hex: code)
    append(" ")
    appendErrorFlags(code)
  }

  /// Writes an event of an entry of the MMU's own tables.
  mutating func appendEntryEvent(_ event: MachineEvent) {
    switch event {
    case .spteRequested(let guest, let host, let level):
      field("gfn ", hex: guest.number)
      field(" pfn ", hex: host.number)
      field(" level ", UInt64(level.depth))
    case .setSPTE(let frame, let spte, let level, let place, let rights):
      field("gfn ", hex: frame.number)
      field(" spte ", hex: spte)
      append(" (")
      append(rights.contains(.read) ? 0x72 : 0x2D)
      append(rights.contains(.write) ? 0x77 : 0x2D)
      append(rights.contains(.execute) ? 0x78 : 0x2D)
      append(rights.contains(.user) ? 0x75 : 0x2D)
      field(") level ", UInt64(level.depth))
      field(" at ", hex: place.raw)
    case .tdpSPTEChanged(let space, let frame, let level, let old, let new):
      field("as id ", UInt64(space))
      field(" gfn ", hex: frame.number)
      field(" level ", UInt64(level.depth))
      field(" old_spte ", hex: old)
      field(" new_spte ", hex: new)
    case .splitHugePage(let frame, let spte, let level, let errno):
      field("gfn ", hex: frame.number)
      field(" spte ", hex: spte)
      field(" level ", UInt64(level.depth))
      append(" errno ")
      appendDecimal(Int64(errno))
    case .fastPageFault(let vcpu, let address, let code, let place, let old, let new, let outcome):
      field("vcpu ", UInt64(vcpu))
      field(" gva ", hex: address)
      append(" error_code ")
      appendErrorFlags(code)
      field(" sptep ", pointer: place)
      field(" old ", prefixed: old)
      field(" new ", hex: new)
      field(" spurious ", outcome == FaultReturn.spurious ? 1 : 0)
      field(" fixed ", outcome == FaultReturn.fixed ? 1 : 0)
    default: appendDeviceEntryEvent(event)
    }
  }

  /// Writes an event of an entry that says "device".
  private mutating func appendDeviceEntryEvent(_ event: MachineEvent) {
    switch event {
    case .markMMIO(let place, let frame, let access, let generation):
      field("sptep:", pointer: place)
      field(" gfn ", hex: frame.number)
      field(" access ", hex: UInt64(access))
      field(" gen ", hex: UInt64(generation))
    case .handleMMIO(let address, let frame, let access):
      field("addr:", hex: address)
      field(" gfn ", hex: frame.number)
      field(" access ", hex: UInt64(access))
    case .checkMMIO(let spte, let machineGeneration, let entryGeneration):
      field("spte ", hex: spte)
      field(" kvm_gen ", hex: UInt64(machineGeneration))
      field(" spte-gen ", hex: UInt64(entryGeneration))
      field(" valid ", machineGeneration == entryGeneration ? 1 : 0)
    default: preconditionFailure("only events of entries come here")
    }
  }
}

/// What a fault returned (KVM: `RET_PF_*`), as far as a tracepoint prints it.
private enum FaultReturn {
  static let fixed: UInt8 = 5
  static let spurious: UInt8 = 6
}
