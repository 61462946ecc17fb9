import MachineEvents
import PagingUnits

extension TextBuffer {
  /// Writes an event of a processor, a device or the host.
  mutating func appendMachineEvent(_ event: MachineEvent, _ vendor: TracepointText.Vendor) {
    switch event {
    case .pageFault(let vcpu, let rip, let address, let errorCode):
      field("vcpu ", UInt64(vcpu))
      field(" rip ", prefixed: rip)
      field(" address ", prefixed: address, digits: 16)
      field(" error_code ", prefixed: errorCode)
    case .exit(let vcpu, let reason, let rip, let info1, let info2):
      field("vcpu ", UInt64(vcpu))
      append(" reason ")
      append(reason.name(by: vendor))
      field(" rip ", prefixed: rip)
      field(" info1 ", prefixed: info1, digits: 16)
      field(" info2 ", prefixed: info2, digits: 16)
      append(" intr_info 0x00000000 error_code 0x00000000")
    case .entry(let vcpu, let rip):
      field("vcpu ", UInt64(vcpu))
      field(", rip ", prefixed: rip)
    case .controlWrite(let register, let value):
      field("cr_write ", hex: UInt64(register))
      field(" = ", prefixed: value)
    case .injectException(let vector, let errorCode):
      appendException(vector)
      if let errorCode {
        field(" (", prefixed: UInt64(errorCode))
        append(")")
      }
    case .mmio(let direction, let length, let address, let value):
      append("mmio ")
      append(direction.name)
      field(" len ", UInt64(length))
      field(" gpa ", prefixed: address.raw)
      field(" val ", prefixed: value)
    default: appendHostEvent(event)
    }
  }

  /// Writes a notification of the host; `%#016lx` is 14 digits behind the prefix.
  private mutating func appendHostEvent(_ event: MachineEvent) {
    switch event {
    case .unmapRange(let start, let end):
      field("mmu notifier unmap range: ", prefixed: start.raw, digits: 14)
      field(" -- ", prefixed: end.raw, digits: 14)
    case .ageRange(let start, let end):
      field("mmu notifier age hva: ", prefixed: start.raw, digits: 14)
      field(" -- ", prefixed: end.raw, digits: 14)
    case .testAge(let address):
      field("mmu notifier test age hva: ", prefixed: address.raw, digits: 14)
    default: preconditionFailure("only notifications of the host come here")
    }
  }

  /// Writes an exception's name, or its number when KVM has no name for it.
  private mutating func appendException(_ vector: UInt8) {
    switch vector {
    case 0: append("#DE")
    case 1: append("#DB")
    case 3: append("#BP")
    case 4: append("#OF")
    case 5: append("#BR")
    case 6: append("#UD")
    case 7: append("#NM")
    case 8: append("#DF")
    case 10: append("#TS")
    case 11: append("#NP")
    case 12: append("#SS")
    case 13: append("#GP")
    case 14: append("#PF")
    case 16: append("#MF")
    case 17: append("#AC")
    case 18: append("#MC")
    default: appendPrefixedHex(UInt64(vector))
    }
  }
}

extension MachineEvent.ExitReason {
  /// The reason as `kvm_exit` prints it for a machine of `vendor`.
  func name(by vendor: TracepointText.Vendor) -> StaticString {
    switch (self, vendor) {
    case (.eptViolation, _): "EPT_VIOLATION"
    case (.eptMisconfiguration, _): "EPT_MISCONFIG"
    case (.subpageEvent, _): "SPP_EVENT"
    case (.nestedPageFault, _): "npf"
    case (.halt, .intel): "HLT"
    case (.halt, .amd): "hlt"
    case (.io, .intel): "IO_INSTRUCTION"
    case (.io, .amd): "io"
    }
  }
}

extension MachineEvent.MMIODirection {
  /// The direction as `kvm_mmio` prints it.
  var name: StaticString {
    switch self {
    case .unsatisfiedRead: "unsatisfied-read"
    case .read: "read"
    case .write: "write"
    }
  }
}
