import HardwareModel
import HostMemory
import PagingUnits
import X86Paging

/// Puts one case after another to the MMU's walk and to the hardware model, over the same bytes.
struct VerificationJudge: ~Copyable {
  private let memory: PhysicalMemory
  private var tables: ArenaTables
  private var processor: Processor
  private(set) var setting: VerificationSetting
  private(set) var rules: WalkRules
  private var places = InlineArray<5, HostPhysical>(repeating: HostPhysical(0))
  private let dimension: SecondDimension

  /// A judge of cases under one setting.
  init(
    _ setting: VerificationSetting, breaking rule: BrokenRule?,
    in arena: borrowing VerificationArena
  ) {
    memory = arena.memory
    tables = ArenaTables(memory: arena.memory)
    processor = Processor(memory: arena.memory, features: setting.processorFeatures)
    self.setting = setting
    rules = setting.rules(breaking: rule)
    dimension = setting.dimension
    for frame in 0..<memory.frameCount { memory.fillFrame(HostFrame(frame), with: 0) }
    for depth in 1...setting.rootDepth { places[depth - 1] = setting.place(depth) }
  }

  /// Whether both sides agree on the case.
  mutating func agrees(on one: borrowing VerificationCase) -> Bool {
    setting.registers.pkru = one.pkru
    lay(one.entries)
    let ours = askMMU(one)
    lay(one.entries)
    let theirs = askHardware(one)
    return agree(ours, theirs, before: one.entries)
  }

  /// What each side says about the case.
  mutating func answers(to one: borrowing VerificationCase) -> (
    mmu: VerificationAnswer, hardware: VerificationAnswer
  ) {
    setting.registers.pkru = one.pkru
    lay(one.entries)
    let ours = askMMU(one)
    lay(one.entries)
    return (ours, askHardware(one))
  }

  /// Turns to another address of the same space.
  mutating func turn(to address: UInt64) { setting.address = address }

  /// Equal answers; on a fault the hardware alone may have set accessed bits, since it may use an
  /// upper entry before it finds the fault further down (SDM volume 3A, "Accessed and Dirty
  /// Flags").
  private func agree(
    _ ours: VerificationAnswer, _ theirs: VerificationAnswer, before: InlineArray<5, UInt64>
  ) -> Bool {
    guard
      ours.ending == theirs.ending, ours.address == theirs.address, ours.usable == theirs.usable,
      ours.isGlobal == theirs.isGlobal
    else { return false }
    let accessed: UInt64 = setting.format == .ept ? 1 << 8 : 1 << 5
    for index in 0..<setting.rootDepth {
      if ours.ending == .translated {
        if ours.entries[index] != theirs.entries[index] { return false }
      } else {
        if ours.entries[index] != before[index] { return false }
        if theirs.entries[index] & ~accessed != before[index] & ~accessed { return false }
      }
    }
    return true
  }

  private func lay(_ entries: InlineArray<5, UInt64>) {
    let isShort = setting.format == .bits32
    for index in 0..<setting.rootDepth {
      if isShort {
        memory.setEntry32(UInt32(truncatingIfNeeded: entries[index]), at: places[index])
      } else {
        memory.setEntry(entries[index], at: places[index])
      }
    }
  }

  private func entriesNow() -> InlineArray<5, UInt64> {
    var answer = InlineArray<5, UInt64>(repeating: 0)
    let isShort = setting.format == .bits32
    for index in 0..<setting.rootDepth {
      answer[index] =
        isShort
        ? UInt64(memory.entry32(at: places[index])) : memory.entry(at: places[index])
    }
    return answer
  }

  // MARK: The MMU

  private mutating func askMMU(_ one: borrowing VerificationCase) -> VerificationAnswer {
    let walk =
      setting.format.isSecondDimension
      ? rules.walkSecondDimension(
        GuestPhysical(setting.address), one.kind, root: setting.secondRoot, marking: .update,
        in: &tables)
      : rules.walk(
        GuestVirtual(setting.address), one.kind, by: one.privilege, setting.registers,
        marking: .update, in: &tables)
    var answer = VerificationAnswer(ending: .other)
    switch walk.outcome {
    case .mapped(let page):
      answer.ending = .translated
      answer.address = page.address.raw
      answer.isGlobal = page.isGlobal && !setting.format.isSecondDimension
      answer.usable = usable(page, one)
    case .fault(let fault): answer.ending = ending(fault, one.kind)
    case .nonCanonical: answer.ending = .nonCanonical
    case .refused, .contended: break
    }
    answer.entries = entriesNow()
    return answer
  }

  private func ending(_ fault: WalkFault, _ kind: AccessKind) -> VerificationAnswer.Ending {
    guard setting.format == .ept else { return .fault(fault.code.guestCode) }
    if fault.cause == .reservedBit { return .misconfiguration }
    let asked: UInt64 =
      switch kind {
      case .read: 1
      case .write: 2
      case .fetch: 4
      }
    var granted: UInt64 = 0
    if fault.rights.contains(.user) { granted |= 1 }
    if fault.rights.contains(.write) { granted |= 2 }
    if fault.rights.contains(.execute) { granted |= 4 }
    return .violation(asked | granted << 3)
  }

  private func usable(_ page: GuestMapping, _ one: borrowing VerificationCase) -> UInt8 {
    var answer: UInt8 = 0
    for number in 0..<3 as Range<UInt8> {
      guard let kind = AccessKind(rawValue: number) else { continue }
      let asked =
        switch setting.format {
        case .ept: PageFaultErrorCode(askingEPT: kind)
        case .npt: PageFaultErrorCode(asking: kind, by: .user)
        default: PageFaultErrorCode(asking: kind, by: one.privilege)
        }
      let refusal = rules.permissions.refusal(
        of: asked, rights: page.rights, key: page.protectionKey, pkru: one.pkru,
        alignmentCheck: setting.registers.ac)
      guard refusal.isEmpty, kind != .write || page.isDirty else { continue }
      answer |= 1 << kind.rawValue
    }
    return answer
  }

  // MARK: The hardware

  private mutating func askHardware(_ one: borrowing VerificationCase) -> VerificationAnswer {
    let outcome =
      setting.format.isSecondDimension
      ? processor.translate(
        guestPhysical: GuestPhysical(setting.address), one.kind, through: dimension)
      : processor.translate(
        GuestVirtual(setting.address), one.kind, one.privilege, setting.registers, through: .none)
    var answer = VerificationAnswer(ending: .other)
    switch outcome {
    case .translated(let translation):
      answer.ending = .translated
      answer.address = translation.hostPhysical.raw
      answer.isGlobal = translation.isGlobal
      if translation.usable.contains(.read) { answer.usable |= 1 << AccessKind.read.rawValue }
      if translation.usable.contains(.write) { answer.usable |= 1 << AccessKind.write.rawValue }
      if translation.usable.contains(.fetch) { answer.usable |= 1 << AccessKind.fetch.rawValue }
    case .pageFault(let code): answer.ending = .fault(code)
    case .generalProtection: answer.ending = .nonCanonical
    case .exit(.eptViolation(let qualification, _, _)):
      answer.ending = .violation(qualification & 0x3F)
    case .exit(.eptMisconfiguration): answer.ending = .misconfiguration
    // The controls are 0.
    case .exit(.subpageEvent), .exit(.modificationLogFull): break
    case .exit(.nestedPageFault(let code, _)):
      answer.ending = .fault(UInt32(truncatingIfNeeded: code))
    }
    answer.entries = entriesNow()
    return answer
  }
}
