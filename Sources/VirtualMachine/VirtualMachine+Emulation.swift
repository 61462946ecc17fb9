import DirectMMU
import HardwareModel
import HostMemory
import PageTables
public import PagingUnits
public import X86Paging

/// Accesses that the hypervisor performs for the guest, as its instruction emulator does (KVM:
/// `kvm_read_guest_virt`, `emulator_write_emulated`).
extension VirtualMachine {
  /// Performs an access for the guest as far as its address goes: the guest's own tables are walked
  /// in software and marked, and the page is looked up through memslot and host process.
  ///
  /// No table of ours and no TLB takes part. The caller is the thread that runs the processor.
  ///
  /// * `byteCount`: how many bytes of the page it touches; only sub-page protection cares.
  public func emulatedAccess(
    _ number: Int, _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    byteCount: UInt64 = 1
  ) -> AccessOutcome {
    operations.lock()
    defer { operations.unlock() }
    // SAFETY: the processor is the caller's own.
    let space = unsafe processor(number).pointee.space
    switch walk(number, address, kind, privilege, .update).outcome {
    case .mapped(let mapping):
      return emulatedPlace(
        mapping.address, kind, space, mapping.level, mapping.isGlobal, byteCount)
    case .fault(let fault): return .pageFault(errorCode: fault.code.guestCode)
    case .nonCanonical: return .generalProtection
    case .refused, .contended: return .stuck(GuestPhysical(0))
    }
  }

  /// How the guest's own tables translate an address for an access, with every entry that is read;
  /// no accessed or dirty bit is set (KVM: `KVM_TRANSLATE`).
  ///
  /// Host pages behind the guest's tables are faulted in. The caller is the thread that runs the
  /// processor.
  public func translate(
    _ number: Int, _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege
  ) -> GuestWalk {
    operations.lock()
    defer { operations.unlock() }
    return walk(number, address, kind, privilege, .report)
  }

  private func walk(
    _ number: Int, _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    _ marking: AccessedDirtyMarking
  ) -> GuestWalk {
    // SAFETY: the processor is the caller's own.
    let registers = unsafe processor(number).pointee.registers
    let space = unsafe processor(number).pointee.space
    let rules = WalkRules(registers, features: configuration.guestPaging)
    // SAFETY: the machine is borrowed, and so stays in place, for the whole call.
    return unsafe withUnsafePointer(to: self) { machine in
      var tables = unsafe GuestTables(of: machine, in: space)
      return rules.walk(address, kind, by: privilege, registers, marking: marking, in: &tables)
    }
  }

  /// Performs an access to a guest-physical address for the guest.
  public func emulatedAccess(
    _ number: Int, _ address: GuestPhysical, _ kind: AccessKind, byteCount: UInt64 = 1
  ) -> AccessOutcome {
    operations.lock()
    defer { operations.unlock() }
    // SAFETY: the processor is the caller's own.
    let space = unsafe processor(number).pointee.space
    return emulatedPlace(address, kind, space, configuration.rootLevel, false, byteCount)
  }

  private func emulatedPlace(
    _ address: GuestPhysical, _ kind: AccessKind, _ space: AddressSpace, _ level: Level,
    _ isGlobal: Bool, _ byteCount: UInt64
  ) -> AccessOutcome {
    switch place(of: address, for: kind == .write ? .write : .read, in: space) {
    case .at(let host, let size, _):
      let translation = Translation(
        hostPhysical: host, guestPhysical: address, level: min(level, size), usable: [],
        isGlobal: isGlobal)
      if kind == .write,
        let refused = emulatedRefusal(of: translation, byteCount: byteCount, in: space)
      {
        return .subpageRefused(refused)
      }
      return .translated(translation)
    case .absent, .readOnly: return .device(address)
    case .failed(.poisoned): return .failed(.poisoned, address)
    case .failed(.refused): return .failed(.noMemory, address)
    case .failed: return .failed(.badAddress, address)
    }
  }
}
