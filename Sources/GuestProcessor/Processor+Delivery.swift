import PagingUnits

extension Processor {
  /// Delivers an exception or interrupt through the guest's IDT; `nil` to go on.
  ///
  /// A second exception on the way is combined with the first (SDM volume 3A, "Interrupt 8, Double
  /// Fault Exception"): one after the other, a double fault, or a triple fault, which ends the run.
  func deliver(_ first: GuestEvent) -> ProcessorExit? {
    var event = first
    // Whatever one instruction was allowed ends with it.
    exceptions = SteppedGrants()
    // Benign and contributory events are followed by at most a page fault, a double fault and the
    // end.
    for _ in 0..<6 {
      if let address = event.address { engine[.cr2] = address.raw }
      port.willDeliver(event)
      do throws(SystemFault) {
        try attempt(event)
        deliveredEvents &+= 1
        virtualTime &+= 1
        return nil
      } catch {
        switch error {
        case .exit(let exit): return exit
        case .event(let next):
          // A page fault sets CR2 even when a double fault comes of it.
          if let address = next.address { engine[.cr2] = address.raw }
          guard let combined = event.combined(with: next.marked(after: event)) else {
            return .tripleFault(next)
          }
          event = combined
        }
      }
    }
    return .tripleFault(event)
  }

  private func attempt(_ event: GuestEvent) throws(SystemFault) {
    engine.save(to: context)
    guard engine[.flags] & 1 << 17 == 0 else {
      throw .exit(.unsupported("an exception in virtual-8086 mode"))
    }
    guard controls.cr0 & ControlBits.pe != 0 else {
      throw .exit(.unsupported("an exception in real mode"))
    }
    let isLong = controls.efer & ControlBits.lma != 0
    let gate = try readGate(event, isLong: isLong)
    let code = try loadHandlerCode(gate, isLong: isLong)
    let current = UInt8(truncatingIfNeeded: context.segment(.cs, layout).selector & 3)
    // A conforming handler runs with the interrupted program's privilege.
    let level = code.isConforming ? current : code.privilegeLevel
    if isLong {
      try enterLong(event, gate, code, from: current, to: level)
    } else {
      try enterLegacy(event, gate, code, from: current, to: level)
    }
  }

  // MARK: The gate and the handler's code

  private func readGate(_ event: GuestEvent, isLong: Bool) throws(SystemFault) -> Gate {
    let table = engine.table(.idtr)
    let size: UInt64 = isLong ? 16 : 8
    let offset = UInt64(event.vector) * size
    let code = UInt32(event.vector) * 8 + 2
    guard offset + size - 1 <= UInt64(table.limit) else { throw .event(.generalProtection(code)) }
    let low = try readSystem(table.base &+ offset, byteCount: 8)
    let high = isLong ? try readSystem(table.base &+ offset &+ 8, byteCount: 8) : 0
    let gate = Gate(low: low, high: high)
    switch gate.type {
    case 0x5 where !isLong: throw .exit(.unsupported("a task gate"))
    case 0x6, 0x7: guard !isLong else { throw .event(.generalProtection(code)) }
    case 0xE, 0xF: break
    default: throw .event(.generalProtection(code))
    }
    if event.origin == .software, gate.privilegeLevel < context.segment(.cs, layout).selector & 3 {
      throw .event(.generalProtection(code))
    }
    guard gate.isPresent else { throw .event(.notPresent(code)) }
    return gate
  }

  private func loadHandlerCode(_ gate: Gate, isLong: Bool) throws(SystemFault) -> Descriptor {
    let code = UInt32(gate.selector & 0xFFFC)
    guard gate.selector & 0xFFFC != 0 else { throw .event(.generalProtection()) }
    let descriptor = try readDescriptor(gate.selector, orRaise: GuestEvent.generalProtection)
    guard descriptor.isCode else { throw .event(.generalProtection(code)) }
    let current = UInt8(truncatingIfNeeded: context.segment(.cs, layout).selector & 3)
    guard descriptor.privilegeLevel <= current else { throw .event(.generalProtection(code)) }
    guard descriptor.isPresent else { throw .event(.notPresent(code)) }
    if isLong, !descriptor.isLong || descriptor.isBig { throw .event(.generalProtection(code)) }
    try markAccessed(gate.selector, descriptor)
    return descriptor
  }

  /// Reads a descriptor from the GDT or LDT; beyond the limit it raises what the caller says.
  private func readDescriptor(
    _ selector: UInt16, orRaise refusal: (UInt32) -> GuestEvent
  ) throws(SystemFault) -> Descriptor {
    let table = engine.table(selector & 4 == 0 ? .gdtr : .ldtr)
    let offset = UInt64(selector & 0xFFF8)
    guard offset + 7 <= UInt64(table.limit) else {
      throw .event(refusal(UInt32(selector & 0xFFFC)))
    }
    return Descriptor(word: try readSystem(table.base &+ offset, byteCount: 8))
  }

  private func markAccessed(
    _ selector: UInt16, _ descriptor: Descriptor
  ) throws(SystemFault) {
    guard !descriptor.isAccessed else { return }
    let table = engine.table(selector & 4 == 0 ? .gdtr : .ldtr)
    let address = table.base &+ UInt64(selector & 0xFFF8) &+ 5
    try writeSystem(address, descriptor.word >> 40 | 1, byteCount: 1)
  }

  // MARK: Entry in IA-32e mode

  private func enterLong(
    _ event: GuestEvent, _ gate: Gate, _ code: Descriptor, from current: UInt8, to level: UInt8
  ) throws(SystemFault) {
    var stack = engine[.rsp]
    if gate.stackTable != 0 {
      stack = try taskWord(at: 0x24 + 8 * (UInt64(gate.stackTable) - 1), byteCount: 8)
    } else if level < current {
      stack = try taskWord(at: 4 + 8 * UInt64(level), byteCount: 8)
    }
    guard isCanonical(stack), isCanonical(gate.offset) else {
      throw .event(isCanonical(stack) ? .generalProtection() : .stackFault(0))
    }
    stack &= ~0xF
    let flags = engine[.flags]
    let oldStack = context.segment(.ss, layout)
    let push: Privilege = level == 3 ? .user : .implicitSupervisor
    var frame: [UInt64] = [
      UInt64(oldStack.selector), engine[.rsp], savedFlags(flags, event),
      UInt64(context.segment(.cs, layout).selector), engine[.rip],
    ]
    if let errorCode = event.errorCode { frame.append(UInt64(errorCode)) }
    for word in frame {
      stack &-= 8
      try writeSystem(stack, word, byteCount: 8, as: push)
    }
    context.setSegment(.cs, to: code.loaded(gate.selector, level), layout)
    if level != current {
      let null = LoadedSegment(
        selector: UInt16(level), base: 0, limit: 0, attributes: UInt32(level) << 13)
      context.setSegment(.ss, to: null, layout)
    }
    enter(level: level, rip: gate.offset, rsp: stack, flags: flags, gate)
  }

  // MARK: Entry in protected mode

  private func enterLegacy(
    _ event: GuestEvent, _ gate: Gate, _ code: Descriptor, from current: UInt8, to level: UInt8
  ) throws(SystemFault) {
    let oldStack = context.segment(.ss, layout)
    let oldPointer = engine[.rsp]
    var stack = oldStack
    var pointer = oldPointer
    if level < current {
      (stack, pointer) = try innerStack(level)
    }
    let flags = engine[.flags]
    var frame: [UInt64] = []
    if level < current { frame += [UInt64(oldStack.selector), oldPointer] }
    frame += [
      savedFlags(flags, event), UInt64(context.segment(.cs, layout).selector), engine[.rip],
    ]
    if let errorCode = event.errorCode { frame.append(UInt64(errorCode)) }
    let width = gate.is32Bit ? 4 : 2
    let mask: UInt64 = stack.isBig ? 0xFFFF_FFFF : 0xFFFF
    let push: Privilege = level == 3 ? .user : .implicitSupervisor
    for word in frame {
      let next = (pointer &- UInt64(width)) & mask
      guard next + UInt64(width) - 1 <= UInt64(stack.limit) || stack.attributes & 1 << 10 != 0
      else { throw .event(.stackFault(level < current ? UInt32(stack.selector & 0xFFFC) : 0)) }
      try writeSystem(stack.base &+ next, word, byteCount: width, as: push)
      pointer = pointer & ~mask | next
    }
    guard gate.offset <= UInt64(code.limit) else { throw .event(.generalProtection()) }
    context.setSegment(.cs, to: code.loaded(gate.selector, level, keepsLong: false), layout)
    context.setSegment(.ss, to: stack, layout)
    enter(level: level, rip: gate.offset, rsp: pointer, flags: flags, gate)
  }

  /// The stack for a more privileged level, from the task segment.
  private func innerStack(_ level: UInt8) throws(SystemFault) -> (LoadedSegment, UInt64) {
    let isBig = engine.table(.tr).attributes & 1 << 11 != 0
    let selector: UInt16
    let pointer: UInt64
    if isBig {
      pointer = try taskWord(at: 4 + 8 * UInt64(level), byteCount: 4)
      selector = UInt16(truncatingIfNeeded: try taskWord(at: 8 + 8 * UInt64(level), byteCount: 2))
    } else {
      pointer = try taskWord(at: 2 + 4 * UInt64(level), byteCount: 2)
      selector = UInt16(truncatingIfNeeded: try taskWord(at: 4 + 4 * UInt64(level), byteCount: 2))
    }
    let code = UInt32(selector & 0xFFFC)
    guard code != 0 else { throw .event(.invalidTask(0)) }
    let descriptor = try readDescriptor(selector, orRaise: GuestEvent.invalidTask)
    guard selector & 3 == UInt16(level), descriptor.privilegeLevel == level,
      descriptor.isWritableData
    else { throw .event(.invalidTask(code)) }
    guard descriptor.isPresent else { throw .event(.stackFault(code)) }
    try markAccessed(selector, descriptor)
    return (descriptor.loaded(selector, level, keepsLong: false), pointer)
  }

  /// A field of the task segment.
  private func taskWord(at offset: UInt64, byteCount: Int) throws(SystemFault) -> UInt64 {
    let task = engine.table(.tr)
    guard offset + UInt64(byteCount) - 1 <= UInt64(task.limit) else {
      throw .event(.invalidTask(UInt32(task.selector & 0xFFFC)))
    }
    return try readSystem(task.base &+ offset, byteCount: byteCount)
  }

  // MARK: The new state

  /// EFLAGS as the handler finds it on its stack: RF is set for a fault, so that its instruction is
  /// not stopped again by a breakpoint.
  private func savedFlags(_ flags: UInt64, _ event: GuestEvent) -> UInt64 {
    event.origin == .fault ? flags | 1 << 16 : flags
  }

  private func enter(level: UInt8, rip: UInt64, rsp: UInt64, flags: UInt64, _ gate: Gate) {
    context[word: layout.remembered] = ContextLayout.nothingRemembered
    context.setExecutionState(privilegeLevel: level, layout)
    let cr2 = engine[.cr2]
    engine.restore(from: context)
    engine[.cr2] = cr2
    engine[.rsp] = rsp
    engine[.rip] = rip
    // TF, NT, VM and RF go; IF too through an interrupt gate.
    var kept = flags & ~(1 << 8 | 1 << 14 | 1 << 16 | 1 << 17)
    if gate.masksInterrupts { kept &= ~(1 << 9) }
    engine[.flags] = kept
  }
}
