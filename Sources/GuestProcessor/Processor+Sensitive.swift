import PagingUnits

extension Processor {
  /// An address is about to be executed at which a sensitive instruction was found.
  ///
  /// An accepted instruction is left to the engine; an illegal one stops the engine before it.
  func reachedSensitive(_ address: UInt64) {
    guard probe == nil, case .nothing = pending else { return }
    let size = codeSize()
    guard let instruction = Instruction(instructionBytes(at: address), size),
      let operation = instruction.sensitive
    else { return }
    switch operation {
    case .readTimestamp, .readTimestampAndProcessor:
      readTimestamp(operation, next: address &+ UInt64(lengthOf(instruction, operation)))
    case .writeKeys:
      writeKeys()
    default:
      // The engine itself raises #GP for anybody but the kernel.
      guard engine.privilegeLevel == 0 else { return }
      runPrivileged(operation, instruction, address: address, size)
    }
  }

  private func runPrivileged(
    _ operation: Instruction.Sensitive, _ instruction: Instruction, address: UInt64,
    _ size: CodeSize
  ) {
    let next = address &+ UInt64(lengthOf(instruction, operation))
    switch operation {
    case .moveToControl(let register, let source):
      moveToControl(register, from: source, size, next: next)
    case .moveFromTaskPriority(let target):
      engine[.general(target)] = UInt64(port.taskPriority)
      engine[.rip] = next
    case .invalidatePage:
      guard let operand = instruction.memory else { return }
      let target = self.address(of: operand, instruction, next: next, size)
      // An address that is not canonical makes INVLPG do nothing (SDM volume 2A, "INVLPG").
      guard isCanonical(target) else { return }
      port.invalidate(GuestVirtual(target))
      // The engine keeps 4 KiB pages and would drop one; a large page goes as a whole.
      engine.flushTLB()
    case .readMSR:
      readMSR(next: next)
    case .writeMSR:
      writeMSR(next: next)
    case .readTimestamp, .readTimestampAndProcessor, .writeKeys:
      break
    }
  }

  private func lengthOf(_ instruction: Instruction, _ operation: Instruction.Sensitive) -> Int {
    switch operation {
    case .readMSR, .writeMSR, .readTimestamp: instruction.lengthToOpcode
    case .moveToControl, .moveFromTaskPriority, .readTimestampAndProcessor, .writeKeys:
      instruction.lengthToOpcode + 1
    case .invalidatePage: instruction.lengthToDisplacement
    }
  }

  // MARK: Control registers

  private func moveToControl(
    _ register: UInt8, from source: UInt8, _ size: CodeSize, next: UInt64
  ) {
    let whole = engine[.general(source)]
    let value = size == .bits64 ? whole : whole & 0xFFFF_FFFF
    switch register {
    case 0:
      guard let new = rules.writingCR0(value, in: controls, codeSize: size) else { return refuse() }
      if accept(new, by: .moveToCR0) { engine.flushTLB() }
    case 3:
      guard let (new, keeps) = rules.writingCR3(value, in: controls) else { return refuse() }
      guard accept(new, by: .moveToCR3(keeps ? .kept : .forgotten)), value >> 63 != 0
      else { return }
      // The engine would keep bit 63 in CR3.
      engine[.cr3] = new.cr3
      engine[.rip] = next
    case 4:
      guard let new = rules.writingCR4(value, in: controls) else { return refuse() }
      // The engine flushes for most of the bits; for protection keys and PCIDs it does not.
      if accept(new, by: .moveToCR4) { engine.flushTLB() }
    case 8:
      guard value >> 4 == 0 else { return refuse() }
      port.taskPriority = UInt8(value)
      engine[.rip] = next
    default:
      return
    }
  }

  /// Offers a new control state to the port.
  private func accept(_ new: ControlRegisters, by instruction: ControlInstruction) -> Bool {
    switch port.controlsWillChange(from: controls, to: new, by: instruction) {
    case .accepted:
      controls = new
      return true
    case .generalProtection:
      refuse()
      return false
    case .stop:
      suspend(for: .portStop)
      return false
    }
  }

  private func refuse() { suspend(for: .event(.generalProtection())) }

  /// WRPKRU (SDM volume 2D): the engine executes it; the port must know.
  private func writeKeys() {
    guard controls.cr4 & ControlBits.pke != 0, engine[.rcx] & 0xFFFF_FFFF == 0,
      engine[.rdx] & 0xFFFF_FFFF == 0
    else { return }
    var new = controls
    new.pkru = UInt32(truncatingIfNeeded: engine[.rax])
    _ = accept(new, by: .writePKRU)
  }

  // MARK: Model-specific registers

  private func readMSR(next: UInt64) {
    let index = UInt32(truncatingIfNeeded: engine[.rcx])
    let value: UInt64
    switch ModelSpecificRegisters.home(of: index) {
    case .engine: return
    case .efer: value = controls.efer
    case .pat: value = controls.pat
    case .timestamp: value = timestamp
    case .here:
      value = msrs[index]
    case .port:
      guard let found = port.readMSR(index) else { return refuse() }
      value = found
    }
    engine[.rax] = value & 0xFFFF_FFFF
    engine[.rdx] = value >> 32
    engine[.rip] = next
  }

  private func writeMSR(next: UInt64) {
    let index = UInt32(truncatingIfNeeded: engine[.rcx])
    let value = engine[.rax] & 0xFFFF_FFFF | engine[.rdx] << 32
    switch ModelSpecificRegisters.home(of: index) {
    case .engine:
      if ModelSpecificRegisters.holdsAddress(index) && !isCanonical(value) { refuse() }
    case .efer:
      guard let new = rules.writingEFER(value, in: controls) else { return refuse() }
      guard accept(new, by: .writeEFER) else { return }
      engine.setMSR(index, to: new.efer)
      engine.flushTLB()
      engine[.rip] = next
    case .pat:
      guard let new = rules.writingPAT(value, in: controls) else { return refuse() }
      guard accept(new, by: .writePAT) else { return }
      engine[.rip] = next
    case .timestamp:
      timestampOffset = value &- virtualTime &* Self.timestampRate
      engine[.rip] = next
    case .here:
      guard msrs.write(index, value) else { return refuse() }
      engine[.rip] = next
    case .port:
      guard port.writeMSR(index, value: value) else { return refuse() }
      engine[.rip] = next
    }
  }

  // MARK: Time

  /// Timestamp ticks for each unit of virtual time.
  static let timestampRate: UInt64 = 16

  var timestamp: UInt64 { virtualTime &* Self.timestampRate &+ timestampOffset }

  private var timestampOffset: UInt64 {
    get { msrs.timestampOffset }
    set { msrs.timestampOffset = newValue }
  }

  private func readTimestamp(_ operation: Instruction.Sensitive, next: UInt64) {
    if controls.cr4 & ControlBits.tsd != 0 && engine.privilegeLevel != 0 { return }
    // Reading takes time, so that a loop that waits for the timestamp ends.
    virtualTime &+= 64
    let value = timestamp
    engine[.rax] = value & 0xFFFF_FFFF
    engine[.rdx] = value >> 32
    if operation == .readTimestampAndProcessor { engine[.rcx] = engine.msr(0xC000_0103) }
    engine[.rip] = next
  }

  // MARK: Decoding

  /// How the code at the instruction pointer is decoded.
  func codeSize() -> CodeSize {
    engine.save(to: context)
    return savedCodeSize
  }

  /// The same, from the context saved last.
  var savedCodeSize: CodeSize {
    let flags = context[word: layout.hiddenFlags]
    if flags & layout.code64 != 0 { return .bits64 }
    return flags & layout.code32 != 0 ? .bits32 : .bits16
  }

  /// The linear address of an operand in memory.
  ///
  /// Uses the context that `codeSize` saved.
  func address(
    of operand: Instruction.MemoryOperand, _ instruction: Instruction, next: UInt64,
    _ size: CodeSize
  ) -> UInt64 {
    var sum = UInt64(bitPattern: operand.displacement)
    if let base = operand.base { sum &+= engine[.general(base)] }
    if let index = operand.index { sum &+= engine[.general(index)] << UInt64(operand.scale) }
    if operand.isRelativeToNext { sum &+= next }
    if instruction.addressSize == 4 { sum &= 0xFFFF_FFFF }
    return based(sum, on: operand.segment, size)
  }

  /// The linear address of an offset in a segment, by the segment register's encoding.
  ///
  /// Uses the context saved last.
  func based(_ offset: UInt64, on segment: UInt8, _ size: CodeSize) -> UInt64 {
    if size == .bits64 {
      // Only FS and GS have a base in 64-bit code.
      switch segment {
      case 4: return offset &+ engine[.fsBase]
      case 5: return offset &+ engine[.gsBase]
      default: return offset
      }
    }
    guard let register = ContextLayout.Segment(rawValue: Int(segment)) else { return offset }
    return (offset &+ context.segment(register, layout).base) & 0xFFFF_FFFF
  }
}
