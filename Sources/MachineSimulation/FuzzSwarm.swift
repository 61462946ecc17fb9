import PagingUnits
import VirtualMachine

/// Which operations and features a run uses.
///
/// Each run does without a random part of everything ("swarm testing", Groce and others, 2012):
/// what is always done hides what only shows without it.
struct FuzzSwarm: Sendable {
  /// How often each action is chosen, by its number.
  var weights: [UInt64] = []
  /// The machine.
  var machine = ScenarioMachine()
  /// How guests translate.
  var shapes: [PagingShape] = []
  /// What lies behind slots.
  var backings: [SlotBacking] = []
  /// What the host does.
  var hostActions: [HostAction] = []
  /// Where slots lie: the middles of small regions of guest-physical memory.
  var anchors: [UInt64] = []
  /// The sets of slots that there are.
  var spaces: [AddressSpace] = []
  /// The most pages of a slot.
  var slotPages: UInt64 = 64
  /// How many slots there are before anything else happens.
  var firstSlots = 2
  /// The part of slots, in 16, that is read-only.
  var readOnlyPart: UInt64 = 0
  /// The part of guest entries, in 16, that is spoiled.
  var corruptionPart: UInt64 = 0
  /// The part of guest leaf entries, in 16, that maps large pages where they exist.
  var largePart: UInt64 = 0
  /// The part of changed entries, in 16, that is followed by the right invalidation.
  var invalidationPart: UInt64 = 8
  /// The part of accesses, in 16, that the hypervisor performs.
  var emulatedPart: UInt64 = 0
  /// Whether guest entries are global, and have keys and execute-disable bits.
  var hasGlobal = false
  var hasKeys = false
  var hasNoExecute = false
  /// Whether mappings go through few frames, so that many share them.
  var isCrowded = false

  /// Whether pages are protected by sub-pages.
  var protects: Bool { machine.features.contains(.subpages) }

  /// Whether anything runs interleaved.
  var hasInterleavings: Bool { weights[FuzzAction.interleave.rawValue] > 0 }

  /// The choices of a run.
  init(_ chance: inout SeededGenerator, _ focus: FuzzConfiguration.Focus?) {
    chooseMachine(&chance)
    chooseTranslation(&chance, focus)
    chooseMemory(&chance)
    if focus == .spp {
      machine.vendor = .intel
      machine.mmu = .direct
      machine.encryptionBit = nil
      machine.features.insert(.subpages)
    }
    for action in FuzzAction.allCases {
      // Where nothing can be protected, not even the dice are cast for it.
      guard action != .protect || protects else {
        weights.append(0)
        continue
      }
      let isLeftOut =
        action.isOptional && chance.chance(1, in: 3) || !action.isUseful(under: machine.mmu)
      weights.append(isLeftOut ? 0 : action.weight * action.factor(focus))
    }
    // Many runs without interleavings: threads cost more than all the rest.
    if machine.processors == 1 || chance.chance(1, in: 2) {
      weights[FuzzAction.interleave.rawValue] = 0
    }
    if focus == .memslots || focus == .host {
      for action in [FuzzAction.createSlot, .deleteSlot, .changeHost]
      where action.factor(focus) > 1 {
        weights[action.rawValue] = action.weight * action.factor(focus)
      }
    }
    chooseGuest(&chance)
  }

  private mutating func chooseMachine(_ chance: inout SeededGenerator) {
    machine.vendor = chance.chance(1, in: 2) ? .intel : .amd
    machine.physicalBits = chance.pick([36, 39, 40, 46, 46, 48, 51, 52])
    machine.guestPhysicalBits =
      chance.chance(1, in: 2)
      ? machine.physicalBits
      : chance.pick([32, 36, 36, 40, 46, 52].filter { $0 <= machine.physicalBits })
    machine.rootLevel = chance.chance(1, in: 4) ? .level5 : .level4
    var features = ScenarioFeatures.standard
    for (_, feature) in ScenarioFeatures.names
    where feature != .subpages && chance.chance(1, in: 5) {
      features.remove(feature)
    }
    machine.features = features
    machine.processors = chance.pick([1, 1, 1, 2, 2, 3])
    machine.largestPage = chance.pick([.page1G, .page1G, .page1G, .page2M, .page4K])
    machine.prefetch = chance.chance(1, in: 3) ? .present : .absent
    machine.translationSets = chance.pick([0, 1, 4, 16, 64, 512])
    machine.hostBytes = chance.pick([16, 32, 64, 64]) << 20
    if chance.chance(1, in: 6) { machine.mischief = chance.below(1 << 16) }
  }

  private mutating func chooseTranslation(
    _ chance: inout SeededGenerator, _ focus: FuzzConfiguration.Focus?
  ) {
    let isShadow = chance.chance(1, in: 4)
    switch focus {
    case .shadow: machine.mmu = .shadow
    case .direct, .spp: break
    default: if isShadow { machine.mmu = .shadow }
    }
    guard machine.mmu == .shadow else {
      // Dice of their own, so that all that follows is as it would be without encryption.
      var dice = chance
      return chooseEncryption(&dice)
    }
    if chance.chance(1, in: 2) { machine.specialRoots = .localPages }
    if chance.chance(1, in: 3) { machine.shadowPageLimit = 64 + chance.below(64) }
    chooseEncryption(&chance)
  }

  /// Where processors of AMD's have it: bit 47 or 51, or the first above MAXPHYADDR.
  private mutating func chooseEncryption(_ chance: inout SeededGenerator) {
    let bits = [47, 51, machine.physicalBits].filter { machine.physicalBits <= $0 && $0 < 52 }
    guard machine.vendor == .amd, !bits.isEmpty, chance.chance(1, in: 3) else { return }
    machine.encryptionBit = chance.pick(bits)
  }

  private mutating func chooseMemory(_ chance: inout SeededGenerator) {
    let top = UInt64(1) << UInt64(machine.guestPhysicalBits)
    let places: [UInt64] = [
      0, 0, 0x20_0000, 0x20_0000, 0x40_0000, 1 << 30, 1 << 32, 0xFEE0_0000, top - 0x1_0000, top,
      chance.next() & (top - 1) & ~0xFFF,
    ]
    anchors = [chance.chance(3, in: 4) ? 0 : 0x20_0000]
    for _ in 0..<chance.below(4) { anchors.append(chance.pick(places)) }
    slotPages = chance.pick([8, 40, 64, 512, 1024, 2600])
    firstSlots = 1 + chance.below(4)
    readOnlyPart = chance.pick([0, 0, 2, 5])
    spaces = chance.chance(1, in: 3) ? [.normal, .normal, .systemManagement] : [.normal]
    backings = Self.some(of: SlotBacking.allCases, &chance)
    // Slots of gigabytes need a host of gigabytes: rarely, since they cost more.
    if chance.chance(1, in: 24) {
      slotPages = 1 << 18 + 3
      machine.hostBytes = 4 << 30
      backings = [.transparent1G, .huge1G, .transparent2M]
    } else {
      backings.removeAll { $0 == .huge1G }
      if slotPages > 512 { machine.hostBytes = 128 << 20 }
    }
    if backings.isEmpty { backings = [.anonymous] }
    hostActions = Self.some(of: HostAction.allCases, &chance)
    if machine.mmu == .shadow && backings.contains(.device) {
      // An entry in a device that may not be written for a while stays unmarked for ever.
      hostActions.removeAll { $0 == .protectReadOnly }
      if hostActions.isEmpty { hostActions = [.unmap] }
    }
    isCrowded = chance.chance(1, in: 2)
  }

  private mutating func chooseGuest(_ chance: inout SeededGenerator) {
    shapes = Self.some(of: PagingShape.allCases, &chance)
    if !machine.features.contains(.fiveLevels) { shapes.removeAll { $0 == .fiveLevels } }
    if shapes.isEmpty { shapes = [.fourLevels] }
    corruptionPart = chance.pick([0, 1, 3])
    largePart = chance.pick([0, 2, 6, 12])
    invalidationPart = chance.pick([2, 8, 14, 16])
    emulatedPart = chance.pick([0, 1, 4])
    hasGlobal = chance.chance(1, in: 2)
    hasKeys = machine.features.contains(.protectionKeys) && chance.chance(1, in: 2)
    hasNoExecute = machine.features.contains(.noExecute) && chance.chance(1, in: 2)
  }

  /// Each of some things by the toss of a coin, at least one of them.
  private static func some<Choice>(
    of choices: [Choice], _ chance: inout SeededGenerator
  ) -> [Choice] {
    let kept = choices.filter { _ in chance.chance(1, in: 2) }
    return kept.isEmpty ? [chance.pick(choices)] : kept
  }
}
