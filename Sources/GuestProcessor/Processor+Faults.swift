import PagingUnits

extension Processor {
  // MARK: Page faults

  /// A translation was refused: finds the exact address, and delivers the page fault.
  func settleRefusal(_ request: FillRequest, _ errorCode: UInt32) -> ProcessorExit? {
    if request.kind == .fetch {
      let rip = linear(engine[.rip] &+ codeBase())
      let address = max(rip, request.address.raw)
      let exact = address & ~0xFFF == request.address.raw ? address : request.address.raw
      return deliver(.pageFault(at: GuestVirtual(exact), errorCode: errorCode))
    }
    if let retried = retryAsImplicit(request) { return retried }
    let instruction = currentInstruction()
    let address = GuestVirtual(
      plainAddress(of: instruction, request) ?? probedAddress(of: request.address.raw))
    var code = errorCode
    if request.kind == .read, instruction?.modifiesMemory == true {
      // The engine reads before it writes; a processor asks for the write at once.
      var write = request
      write.kind = .write
      if case .pageFault(let writeCode) = port.fill(write) { code = writeCode }
    }
    return deliver(.pageFault(at: address, errorCode: code))
  }

  /// The exact address of a refused access, from the instruction and the registers; `nil` when the
  /// instruction is not a plain one.
  ///
  /// Uses the context that `currentInstruction` saved.
  private func plainAddress(of instruction: Instruction?, _ request: FillRequest) -> UInt64? {
    guard let instruction,
      let operand = instruction.plainOperand(isWrite: request.kind == .write)
    else { return nil }
    let size = savedCodeSize
    let address: UInt64
    switch operand {
    case .memory(let immediateBytes):
      guard let memory = instruction.memory else { return nil }
      let next = engine[.rip] &+ UInt64(instruction.lengthToDisplacement + immediateBytes)
      address = self.address(of: memory, instruction, next: next, size)
    case .absolute:
      guard let offset = absoluteOffset(instruction) else { return nil }
      address = based(offset, on: instruction.segmentOverride ?? 3, size)
    case .push:
      let width: UInt64 = instruction.hasOperandSizePrefix ? 2 : (size == .bits64 ? 8 : 4)
      address = based(engine[.rsp] &- width, on: 2, size)
    case .pop: address = based(engine[.rsp], on: 2, size)
    case .framePop: address = based(engine[.rbp], on: 2, size)
    case .source:
      address = based(
        masked(engine[.rsi], instruction), on: instruction.segmentOverride ?? 3, size)
    case .destination: address = based(masked(engine[.rdi], instruction), on: 0, size)
    }
    let page = request.address.raw
    if address & ~0xFFF == page { return address }
    // An access that begins in the page before faults at the first byte of this one.
    return linear((address & ~0xFFF) &+ 4096) == page ? page : nil
  }

  private func masked(_ value: UInt64, _ instruction: Instruction) -> UInt64 {
    switch instruction.addressSize {
    case 8: value
    case 4: value & 0xFFFF_FFFF
    default: value & 0xFFFF
    }
  }

  /// The offset inside a MOV between the accumulator and an absolute address.
  private func absoluteOffset(_ instruction: Instruction) -> UInt64? {
    let bytes = instructionBytes(at: linear(engine[.rip] &+ savedCodeBase))
    var offset: UInt64 = 0
    for index in 0..<instruction.addressSize {
      guard let byte = bytes[instruction.lengthToOpcode + index] else { return nil }
      offset |= UInt64(byte) << UInt64(8 * index)
    }
    return offset
  }

  /// Runs the refused instruction again with the page led nowhere, to see where its access goes.
  ///
  /// The engine's TLB hook is told only the page. Meanwhile every page that would be written is
  /// led nowhere too, and the context undoes what the second run did to the registers.
  private func probedAddress(of page: UInt64) -> UInt64 {
    guard let hook = installProbeHook() else { return page }
    defer { engine.removeHook(hook) }
    engine.save(to: context)
    let reason = pending
    probe = Probe(page: page)
    engine.flushTLB()
    engine[.flags] |= Self.trapFlag
    _ = engine.start(at: engine[.rip])
    let offset = probe?.offset ?? 0
    probe = nil
    pending = reason
    engine.restore(from: context)
    engine.flushTLB()
    return page | offset
  }

  /// The engine does not say that an access to a descriptor table or the task segment is an
  /// implicit supervisor one; user code that was refused there is run again with it said.
  private func retryAsImplicit(_ request: FillRequest) -> ProcessorExit?? {
    guard request.privilege == .user, holdsSystemTable(request.address.raw),
      let instruction = currentInstruction(), instruction.reachesSystemTables
    else { return nil }
    let grant = SteppedGrants.Grant(page: request.address.raw, frame: nil)
    return exceptions.add(grant)
      ? .some(nil) : .some(.unsupported("an instruction that reads nine system tables"))
  }

  /// Whether a page holds a part of the GDT, the LDT or the task segment.
  private func holdsSystemTable(_ page: UInt64) -> Bool {
    for register in [Register.gdtr, .ldtr, .tr] {
      let table = engine.table(register)
      let last = table.base &+ UInt64(table.limit)
      if table.base & ~0xFFF <= page && page <= last { return true }
    }
    return false
  }

  /// The instruction at the instruction pointer, as far as it can be read.
  func currentInstruction() -> Instruction? {
    let size = codeSize()
    return Instruction(instructionBytes(at: linear(engine[.rip] &+ savedCodeBase)), size)
  }

  /// The base of the code segment; it only counts outside 64-bit code.
  private func codeBase() -> UInt64 {
    guard controls.efer & ControlBits.lma == 0 else { return 0 }
    engine.save(to: context)
    return savedCodeBase
  }

  /// The same, from the context saved last.
  private var savedCodeBase: UInt64 {
    controls.efer & ControlBits.lma == 0 ? context.segment(.cs, layout).base : 0
  }

  // MARK: Other faults

  /// An address that is not canonical (SDM volume 3A, "Segment Limit Checking in 64-bit mode").
  func settleNonCanonical(_ request: FillRequest) -> ProcessorExit? {
    if request.kind != .fetch, currentInstruction()?.usesStackSegment == true {
      return deliver(.stackFault(0))
    }
    return deliver(.generalProtection())
  }

  /// The engine raised an exception, or executed INT n.
  func settleRaised(_ vector: UInt8) -> ProcessorExit? {
    engine.save(to: context)
    let isSoftware = context[word: layout.isSoftware] == 1
    let errorCode = context[word: layout.errorCode]
    context[word: layout.remembered] = ContextLayout.nothingRemembered
    context[word: layout.isSoftware] = 0
    engine.restore(from: context)
    if isSoftware { return deliver(GuestEvent(vector: vector, origin: .software)) }
    let hasCode = GuestEvent.hasErrorCode(vector)
    return deliver(
      GuestEvent(
        vector: vector, errorCode: hasCode ? errorCode & 0xFFFF : nil,
        origin: vector == 1 ? .trap : .fault))
  }

  /// The engine does not know the instruction: INVPCID is done here, the rest is #UD.
  func settleInvalidInstruction() -> ProcessorExit? {
    let size = codeSize()
    let start = engine[.rip]
    guard features.paging.contains(.processContexts),
      let instruction = Instruction(instructionBytes(at: linear(start &+ savedCodeBase)), size),
      instruction.isInvalidatePCID, let operand = instruction.memory
    else { return deliver(.invalidOpcode) }
    guard engine.privilegeLevel == 0 else { return deliver(.generalProtection()) }
    let next = start &+ UInt64(instruction.lengthToDisplacement)
    let target = address(of: operand, instruction, next: next, size)
    do throws(SystemFault) {
      let pcid = try readSystem(target, byteCount: 8, as: .supervisor)
      let linear = try readSystem(target &+ 8, byteCount: 8, as: .supervisor)
      let type = engine[.general(instruction.reg)] & (size == .bits64 ? .max : 0xFFFF_FFFF)
      let isLegal =
        type <= 3 && pcid >> 12 == 0 && (type != 0 || isCanonical(linear))
        && (type > 1 || controls.cr4 & ControlBits.pcide != 0 || pcid == 0)
      guard isLegal, let scope = InvalidationScope(rawValue: UInt8(truncatingIfNeeded: type)) else {
        return deliver(.generalProtection())
      }
      port.invalidate(scope, pcid: UInt16(pcid), address: GuestVirtual(linear))
      engine.flushTLB()
      engine[.rip] = next
      return nil
    } catch {
      switch error {
      case .event(let event): return deliver(event)
      case .exit(let exit): return exit
      }
    }
  }

  // MARK: System calls

  /// SYSCALL (SDM volume 2B); the instruction pointer is past it.
  func systemCall() -> ProcessorExit? {
    guard controls.efer & ControlBits.sce != 0, controls.efer & ControlBits.lma != 0 else {
      engine[.rip] = engine[.rip] &- 2
      return deliver(.invalidOpcode)
    }
    let isLong = codeSize() == .bits64
    let flags = engine[.flags]
    let next = engine[.rip]
    let selector = UInt16(truncatingIfNeeded: engine.msr(0xC000_0081) >> 32) & 0xFFFC
    let target = engine.msr(isLong ? 0xC000_0082 : 0xC000_0083)
    let mask = engine.msr(0xC000_0084)
    enterKernel(selector: selector, isLong: true)
    engine[.rcx] = next
    engine[.r11] = flags
    engine[.flags] = flags & ~mask & ~(1 << 16) | 2
    engine[.rip] = target
    return nil
  }

  /// SYSENTER (SDM volume 2B); the instruction pointer is past it.
  func systemEnter() -> ProcessorExit? {
    let selector = UInt16(truncatingIfNeeded: engine.msr(0x174)) & 0xFFFC
    guard selector != 0 else {
      engine[.rip] = engine[.rip] &- 2
      return deliver(.generalProtection())
    }
    let isLong = controls.efer & ControlBits.lma != 0
    let mask: UInt64 = isLong ? .max : 0xFFFF_FFFF
    let flags = engine[.flags]
    enterKernel(selector: selector, isLong: isLong)
    engine[.flags] = flags & ~(1 << 9 | 1 << 17)
    engine[.rsp] = engine.msr(0x175) & mask
    engine[.rip] = engine.msr(0x176) & mask
    return nil
  }

  /// Loads the fixed flat kernel segments.
  private func enterKernel(selector: UInt16, isLong: Bool) {
    engine.save(to: context)
    let code = LoadedSegment(
      selector: selector, base: 0, limit: .max, attributes: isLong ? 0xAF_9B00 : 0xCF_9B00)
    let stack = LoadedSegment(
      selector: selector + 8, base: 0, limit: .max, attributes: 0xCF_9300)
    context.setSegment(.cs, to: code, layout)
    context.setSegment(.ss, to: stack, layout)
    context.setExecutionState(privilegeLevel: 0, layout)
    engine.restore(from: context)
  }
}
