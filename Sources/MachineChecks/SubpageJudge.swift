import HardwareModel
import HostMemory
import PagingUnits
import X86Paging

/// What one side says of a case of sub-page write permissions.
struct SubpageAnswer: Hashable {
  enum Ending: Hashable {
    /// The access reaches its page, or the walk of a guest's tables reads its entry.
    case reached
    /// An EPT violation, with its qualification.
    case violation(UInt64)
    case extendedMisconfiguration
    /// An SPP-related event, with its qualification.
    case event(UInt64)
    case other
  }
  var ending: Ending
  /// The entries of the extended page tables afterwards, by depth - 1.
  var extended = InlineArray<5, UInt64>(repeating: 0)

  static func == (left: Self, right: Self) -> Bool {
    guard left.ending == right.ending else { return false }
    for index in 0..<5 where left.extended[index] != right.extended[index] { return false }
    return true
  }

  func hash(into hasher: inout Hasher) { hasher.combine(ending) }
}

/// Puts cases of sub-page write permissions to the MMU's walk and the rules told a second time on
/// one side, and to the hardware model on the other, over the same bytes.
struct SubpageJudge: ~Copyable {
  private let memory: PhysicalMemory
  private var processor: Processor
  private let setting: SubpageSetting
  private let extendedRules: WalkRules
  private let rules: SubpageRules
  private let trueRules: SubpageRules
  private var registers = ControlRegisters()

  init(
    _ setting: SubpageSetting, breaking rule: BrokenRule?, in arena: borrowing VerificationArena
  ) {
    memory = arena.memory
    self.setting = setting
    processor = Processor(memory: arena.memory, features: setting.processorFeatures)
    processor.subpageControls = SubpageControls(pointer: setting.pointer)
    processor.subpageControls.isEnabled = setting.isEnabled
    extendedRules = WalkRules(
      eptPointer: setting.extendedRoot, features: setting.pagingFeatures)
    trueRules = SubpageRules(
      isEnabled: setting.isEnabled, root: setting.pointer, physicalBits: setting.physicalBits)
    var rules = trueRules
    rule?.spoil(&rules)
    self.rules = rules
    // For walks of a guest's tables: its topmost table is the page.
    if setting.use == .table {
      registers.cr0 = CR0Layout.protection.mask | CR0Layout.paging.mask
      registers.cr3 = SubpageSetting.page
    }
    for frame in 0..<memory.frameCount { memory.fillFrame(HostFrame(frame), with: 0) }
  }

  /// What each side says of a case.
  mutating func answers(to one: SubpageCase) -> (rules: SubpageAnswer, hardware: SubpageAnswer) {
    if one.looseAddress != 0 { return looseAnswers(one) }
    lay(one)
    let ours = askRules(one)
    lay(one)
    return (ours, askHardware(one))
  }

  /// The rule that decides a case on which the two sides differ.
  func rule(_ one: SubpageCase, _ ours: SubpageAnswer, _ theirs: SubpageAnswer) -> RuleCase {
    if one.looseAddress != 0 { return .subpageIndex }
    if ours.ending == theirs.ending { return .dirty }
    return trueRules.verdict(on: write(one, rights(one))) { [memory] in
      memory.entryOrOnes(at: HostPhysical($0))
    }.rule
  }

  // MARK: The bytes

  private func place(_ depth: Int) -> HostPhysical {
    HostPhysical(
      UInt64(depth) << 12 | SubpageSetting.page >> (9 * UInt64(depth)) & 0xFF8)
  }

  private func lay(_ one: SubpageCase) {
    for depth in 1...setting.levels {
      memory.setEntry(one.extended[depth - 1], at: place(depth))
    }
    for depth in 1...4 {
      let offset = SubpageSetting.page >> (9 * UInt64(depth)) & 0xFF8
      memory.setEntry(
        one.entries[depth - 1], at: HostPhysical(UInt64(5 + depth) << 12 | offset))
    }
  }

  private func extendedNow() -> InlineArray<5, UInt64> {
    var answer = InlineArray<5, UInt64>(repeating: 0)
    for depth in 1...setting.levels { answer[depth - 1] = memory.entry(at: place(depth)) }
    return answer
  }

  // MARK: The rules

  private func rights(_ one: SubpageCase) -> UInt64 {
    var rights: UInt64 = 7
    for depth in one.leafDepth...setting.levels { rights &= one.extended[depth - 1] }
    return rights
  }

  private func write(_ one: SubpageCase, _ rights: UInt64) -> SubpageRules.Write {
    SubpageRules.Write(
      address: SubpageSetting.page | one.offset, byteCount: one.byteCount,
      isTable: setting.use == .table, hasLinear: setting.use != .physical,
      leaf: one.extended[one.leafDepth - 1], leafDepth: one.leafDepth, rights: rights)
  }

  private func askRules(_ one: SubpageCase) -> SubpageAnswer {
    // Reading a guest's table is a write as well where it might have to be marked.
    let writes = one.kind == .write || setting.use == .table && setting.hasMarks
    var tables = ArenaTables(memory: memory)
    let outcome = extendedRules.walkSecondDimension(
      GuestPhysical(SubpageSetting.page | one.offset), writes ? .write : one.kind,
      root: setting.extendedRoot, marking: .update, in: &tables
    ).outcome
    var answer = SubpageAnswer(ending: .other)
    switch outcome {
    case .mapped: answer.ending = .reached
    case .fault(let fault) where fault.cause == .reservedBit:
      answer.ending = .extendedMisconfiguration
    case .fault(let fault):
      let isAbsent = fault.cause != .permission
      answer.ending = .violation(qualification(one, isAbsent ? 0 : rights(one), writes: writes))
      if writes && !isAbsent { judge(one, &answer) }
    default: break
    }
    answer.extended = extendedNow()
    return answer
  }

  /// Asks the rules about a write that the extended page tables refuse, and marks what they let
  /// through.
  private func judge(_ one: SubpageCase, _ answer: inout SubpageAnswer) {
    let verdict = rules.verdict(on: write(one, rights(one))) { [memory] in
      memory.entryOrOnes(at: HostPhysical($0))
    }
    switch verdict.ending {
    case .violation: return
    case .miss: answer.ending = .event(1 << 11)
    case .misconfiguration: answer.ending = .event(0)
    case .granted:
      answer.ending = .reached
      guard setting.hasMarks else { return }
      for depth in one.leafDepth...setting.levels {
        let marks: UInt64 = depth == one.leafDepth && rules.marksDirty ? 3 << 8 : 1 << 8
        memory.setEntry(one.extended[depth - 1] | marks, at: place(depth))
      }
    }
  }

  private func qualification(_ one: SubpageCase, _ rights: UInt64, writes: Bool) -> UInt64 {
    var word = rights << 3
    if one.kind == .read { word |= 1 }
    if writes { word |= 2 }
    if one.kind == .fetch { word |= 4 }
    switch setting.use {
    case .linear: return word | 0x180
    case .table: return word | 0x80
    case .physical: return word
    }
  }

  // MARK: The hardware model

  private mutating func askHardware(_ one: SubpageCase) -> SubpageAnswer {
    let dimension = SecondDimension.ept(eptp: setting.extendedRoot)
    let outcome =
      switch setting.use {
      case .linear:
        processor.translate(
          GuestVirtual(SubpageSetting.page | one.offset), one.kind, .supervisor, registers,
          through: dimension, byteCount: one.byteCount)
      case .table:
        // The entry at this offset of the page, of 4 bytes.
        processor.translate(
          GuestVirtual(one.offset / 4 << 22), one.kind, .supervisor, registers, through: dimension)
      case .physical:
        processor.translate(
          guestPhysical: GuestPhysical(SubpageSetting.page | one.offset), one.kind,
          through: dimension)
      }
    var answer = SubpageAnswer(ending: .other)
    switch outcome {
    // The guest's entry is all zeros.
    case .translated, .pageFault: answer.ending = .reached
    case .exit(.eptViolation(let qualification, _, _)):
      answer.ending = .violation(qualification)
    case .exit(.eptMisconfiguration): answer.ending = .extendedMisconfiguration
    case .exit(.subpageEvent(let qualification, _, _)): answer.ending = .event(qualification)
    case .exit(.nestedPageFault), .exit(.modificationLogFull), .generalProtection: break
    }
    answer.extended = extendedNow()
    return answer
  }

  // MARK: Addresses of any size

  /// What both sides make of an address in tables without end, whose entries follow from where they
  /// lie.
  private func looseAnswers(_ one: SubpageCase) -> (SubpageAnswer, SubpageAnswer) {
    func entry(_ place: UInt64, _ number: Int) -> UInt64 {
      let word = VerificationSweep.mix(place)
      return number < 4 ? word & 0x3FFF_FFFF_F000 | 1 : word & 0x5555_5555_5555_5555
    }
    let leaf = one.extended[0]
    var reads = 0
    let verdict = rules.verdict(
      on: SubpageRules.Write(
        address: one.looseAddress, byteCount: 1, leaf: leaf, leafDepth: 1, rights: 5)
    ) { place in
      reads += 1
      return entry(place, reads)
    }
    reads = 0
    let request = SubpageRequest(
      GuestPhysical(one.looseAddress), byteCount: 1, .write, .linear, leaf: leaf, level: .page4K,
      rights: 5)
    let ruling = SubpagePermission.ruling(
      on: request, pointer: setting.pointer, physicalBits: setting.physicalBits
    ) { place in
      reads += 1
      return entry(place.raw, reads)
    }
    let refused = SubpageAnswer.Ending.violation(0x1AA)
    var theirs = SubpageAnswer(ending: .other)
    if case .granted = ruling { theirs.ending = .reached }
    if ruling == .refused { theirs.ending = refused }
    return (SubpageAnswer(ending: verdict.ending == .granted ? .reached : refused), theirs)
  }
}
