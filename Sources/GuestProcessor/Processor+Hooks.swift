import CUnicorn
import HostMemory
import PagingUnits

// The C functions that the engine calls. Each finds its processor in the context pointer, without
// touching a reference count, and calls one method.

/// The processor behind a hook's context pointer.
@inline(__always)
private func processor(_ context: UnsafeMutableRawPointer?) -> Unmanaged<Processor> {
  // SAFETY: every hook is added with its processor as context, and the engine, which calls the
  // hooks, belongs to that processor and runs only inside its `run`.
  guard let context = unsafe context else { preconditionFailure("a hook has its context") }
  return unsafe Unmanaged<Processor>.fromOpaque(context)
}

private let onFill: cunicorn_on_tlb_fill = { _, page, kind, answer, context in
  guard let answer = unsafe answer else { return false }
  return unsafe processor(context)._withUnsafeGuaranteedRef {
    // SAFETY: the library hands one entry to fill in.
    unsafe $0.fill(page, kind, &answer.pointee)
  }
}

private let onUnmapped: cunicorn_on_unmapped = { _, _, address, _, _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.sawUnmapped(address) }
  return false
}

private let onWrite: cunicorn_on_write = { _, _, address, size, value, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.announce(address, Int(size), value) }
}

private let onInterrupt: cunicorn_on_interrupt = { _, vector, context in
  unsafe processor(context)._withUnsafeGuaranteedRef {
    $0.suspend(for: .raised(vector: UInt8(truncatingIfNeeded: vector)))
  }
}

private let onSensitive: cunicorn_on_code = { _, address, _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.reachedSensitive(address) }
}

private let onBlock: cunicorn_on_code = { _, _, _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.beginBlock() }
}

// SAFETY: as above, the context is the processor that added the hook.

private let onIn: cunicorn_on_in = { _, port, size, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.portInput(port, Int(size)) }
}

private let onOut: cunicorn_on_out = { _, port, size, value, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.portOutput(port, Int(size), value) }
}

private let onIdentify: cunicorn_on_cpuid = { _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.identify() }
  return 1
}

private let onSystemCall: cunicorn_on_system_call = { _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.suspend(for: .systemCall) }
}

private let onSystemEnter: cunicorn_on_system_call = { _, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.suspend(for: .systemEnter) }
}

// SAFETY: as above, the context is the processor that added the hook.

private let onDeviceRead: cunicorn_on_device_read = { _, offset, size, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.deviceInput(offset, Int(size)) }
}

private let onDeviceWrite: cunicorn_on_device_write = { _, offset, size, value, context in
  unsafe processor(context)._withUnsafeGuaranteedRef { $0.deviceOutput(offset, Int(size), value) }
}

extension Processor {
  /// Linear addresses with this bit, which no guest can reach, stand for physical ones while code
  /// is being forgotten.
  static let aliasBit: UInt64 = 1 << 62
  /// A physical address where the engine has nothing.
  static let nowhere: UInt64 = 1 << 45
  /// Another one.
  static let nowhereElse: UInt64 = 1 << 45 | 1 << 44

  private var opaque: UnsafeMutableRawPointer {
    // SAFETY: the processor owns the engine that is given the pointer.
    unsafe Unmanaged.passUnretained(self).toOpaque()
  }

  /// A C function as the untyped pointer that the library takes.
  private func pointer<Function>(_ function: Function) -> UnsafeMutableRawPointer {
    // SAFETY: every caller passes a C function pointer, which has the size of a data pointer.
    unsafe unsafeBitCast(function, to: UnsafeMutableRawPointer.self)
  }

  /// Adds every hook but those on blocks and single addresses.
  func installHooks() throws(UnicornError) {
    // SAFETY: the callbacks have the types that their kinds of hook want.
    _ = unsafe try engine.addHook(CUNICORN_HOOK_TLB_FILL, pointer(onFill), context: opaque)
    _ = unsafe try engine.addHook(CUNICORN_HOOK_INTERRUPT, pointer(onInterrupt), context: opaque)
    if port.watchesStores {
      _ = unsafe try engine.addHook(CUNICORN_HOOK_WRITE, pointer(onWrite), context: opaque)
    }
    let instructions = unsafe [
      (CUNICORN_INSTRUCTION_IN, pointer(onIn)), (CUNICORN_INSTRUCTION_OUT, pointer(onOut)),
      (CUNICORN_INSTRUCTION_CPUID, pointer(onIdentify)),
      (CUNICORN_INSTRUCTION_SYSCALL, pointer(onSystemCall)),
      (CUNICORN_INSTRUCTION_SYSENTER, pointer(onSystemEnter)),
    ]
    for index in unsafe instructions.indices {
      let (instruction, callback) = unsafe instructions[index]
      unsafe try engine.addInstructionHook(instruction, callback, context: opaque)
    }
    try engine.check(
      unsafe engine.mapDevices(
        at: DeviceWindow.base, byteCount: UInt64(DeviceWindow.pageCount) << 12,
        onRead: onDeviceRead, onWrite: onDeviceWrite, context: opaque),
      "a window for devices")
  }

  /// Adds the hook on blocks, which blocks translated before do not call.
  func installBlockHook() throws(UnicornError) {
    // SAFETY: the callback has the type of a block hook.
    _ = unsafe try engine.addHook(CUNICORN_HOOK_BLOCK, pointer(onBlock), context: opaque)
  }

  /// Adds the hook that tells where a probe's access went.
  ///
  /// Only for the time of a probe: while it is there, the engine takes its slow path for every
  /// store of the blocks that it runs.
  func installProbeHook() -> Int? {
    do {
      // SAFETY: the callback has the type of a hook on unmapped addresses.
      return unsafe try engine.addHook(
        CUNICORN_HOOK_UNMAPPED, pointer(onUnmapped), context: opaque)
    } catch {
      return nil
    }
  }

  /// Hooks one address, once.
  func hookSensitive(at address: UInt64) {
    guard codePages.noteHook(at: address) else { return }
    do {
      _ = unsafe try engine.addHook(
        CUNICORN_HOOK_CODE, pointer(onSensitive), context: opaque, addresses: address...address)
    } catch {
      suspend(for: .unsupported("more hooks than the engine can hold"))
    }
  }

  // MARK: Memory

  /// Answers a TLB miss of the engine; `false` refuses, and the instruction has no effect.
  func fill(_ page: UInt64, _ kind: Int32, _ answer: inout cunicorn_tlb_entry) -> Bool {
    if isForgettingCode {
      answer.physical = page & ~Self.aliasBit & ~0xFFF
      answer.permissions = 7
      return true
    }
    var request = FillRequest(
      address: GuestVirtual(page), kind: Self.accessKind(kind),
      privilege: engine.privilegeLevel == 3 ? .user : .supervisor, alignmentCheck: false)
    if controls.cr4 & ControlBits.smap != 0 {
      request.alignmentCheck = engine[.flags] & 1 << 18 != 0
    }
    if !isCanonical(page) {
      suspend(for: .nonCanonical(request))
      return false
    }
    if let probe, probe.page == page || request.kind == .write {
      answer.physical = probe.page == page ? Self.nowhere : Self.nowhereElse
      answer.permissions = 7
      return true
    }
    if !exceptions.isEmpty {
      if request.kind == .write, let frame = exceptions.frame(for: page) {
        answer.physical = frame.address.raw
        answer.permissions = 3
        return true
      }
      if exceptions.isImplicit(page) { request.privilege = .implicitSupervisor }
    }
    fills &+= 1
    switch port.fill(request) {
    case .filled(let frame, let grant):
      answer.physical = frame.address.raw
      guard request.kind == .fetch else {
        answer.permissions = UInt32(grant.rawValue & 3)
        return true
      }
      // Never writable and executable at once: a page that is written comes back here before it is
      // executed again, so that new sensitive instructions are found.
      answer.permissions = UInt32(grant.rawValue & 5)
      guard prepareCode(page: page, frame: frame) else {
        suspend(for: .codeChanged(frame))
        return false
      }
      return true
    case .device(let frame):
      guard request.kind != .fetch else {
        suspend(for: .unsupported("code in a device's memory"))
        return false
      }
      switch deviceWindow.address(of: frame) {
      case .known(let address): answer.physical = address
      case .recycled(let address):
        answer.physical = address
        engine.flushTLB()
      }
      answer.permissions = 3
      return true
    case .pageFault(let errorCode):
      suspend(for: .refused(request, errorCode: errorCode))
      return false
    case .filledOnce(let frame):
      let grant = SteppedGrants.Grant(page: page, frame: frame)
      suspend(
        for: exceptions.add(grant)
          ? .step
          : .unsupported(
            "an instruction that writes to more "
              + "write-protected pages than one instruction can"))
      return false
    case .stop:
      suspend(for: .portStop)
      return false
    }
  }

  /// The engine is about to store bytes.
  func announce(_ address: UInt64, _ byteCount: Int, _ value: Int64) {
    guard probe == nil, !isForgettingCode else { return }
    port.willStore(
      GuestStore(
        place: HostPhysical(address), byteCount: min(byteCount, 8),
        value: UInt64(bitPattern: value),
        privilege: engine.privilegeLevel == 3 ? .user : .supervisor))
  }

  private static func accessKind(_ kind: Int32) -> AccessKind {
    switch Int(kind) {
    case CUNICORN_MEMORY_WRITE: .write
    case CUNICORN_MEMORY_FETCH: .fetch
    default: .read
    }
  }

  /// Whether an address has the form that long mode wants (SDM volume 1, "Canonical Addressing").
  func isCanonical(_ address: UInt64) -> Bool {
    guard controls.efer & ControlBits.lma != 0 else { return true }
    let shift: Int64 = controls.cr4 & ControlBits.la57 != 0 ? 7 : 16
    let signed = Int64(bitPattern: address)
    return (signed << shift) >> shift == signed
  }

  /// An access of a probe reached the place where nothing is.
  func sawUnmapped(_ address: UInt64) {
    guard probe != nil else { return }
    if probe?.offset == nil, address & ~0xFFF == Self.nowhere { probe?.offset = address & 0xFFF }
    engine.stop()
  }

  // MARK: Devices

  func portInput(_ port: UInt32, _ byteCount: Int) -> UInt32 {
    guard probe == nil else { return .max }
    let value = self.port.readPort(UInt16(truncatingIfNeeded: port), byteCount: byteCount)
    switch byteCount {
    case 1: return value & 0xFF
    case 2: return value & 0xFFFF
    default: return value
    }
  }

  func portOutput(_ port: UInt32, _ byteCount: Int, _ value: UInt32) {
    guard probe == nil else { return }
    self.port.writePort(UInt16(truncatingIfNeeded: port), byteCount: byteCount, value: value)
  }

  func deviceInput(_ offset: UInt64, _ byteCount: Int) -> UInt64 {
    guard probe == nil else { return .max }
    return port.readDevice(deviceWindow.device(at: offset), byteCount: byteCount)
  }

  func deviceOutput(_ offset: UInt64, _ byteCount: Int, _ value: UInt64) {
    guard probe == nil else { return }
    port.writeDevice(deviceWindow.device(at: offset), byteCount: byteCount, value: value)
  }

  /// CPUID.
  func identify() {
    let leaf = features.leaf(
      UInt32(truncatingIfNeeded: engine[.rax]), subleaf: UInt32(truncatingIfNeeded: engine[.rcx]),
      cr4: controls.cr4)
    engine[.rax] = UInt64(leaf.a)
    engine[.rbx] = UInt64(leaf.b)
    engine[.rcx] = UInt64(leaf.c)
    engine[.rdx] = UInt64(leaf.d)
  }

  // MARK: Time

  /// A translated block is about to run.
  func beginBlock() {
    guard probe == nil else { return }
    virtualTime &+= 1
    if virtualTime >= timerDeadline { expireTimer() }
    if interruptRequested && engine[.flags] & 1 << 9 != 0 { suspend(for: .interruptWindow) }
  }
}
