import VirtualMachine

/// What the fuzzer can decide to do next; one action may be several operations.
enum FuzzAction: Int, Hashable, Sendable, CaseIterable {
  case accessVirtual
  case accessPhysical
  case writeMemory
  case readMemory
  case buildTables
  case extendTables
  case changeEntry
  case changeRegister
  case switchMode
  case loadCR3
  case invalidatePage
  case invalidateContext
  case createSlot
  case deleteSlot
  case moveSlot
  case flagSlot
  case changeHost
  case zapAll
  case evict
  case refuse
  case look
  case interleave
  case protect
  case storeToTable
  case mapTable
  case trim

  /// How often the action is chosen among the others, in a run that has all of them.
  var weight: UInt64 {
    switch self {
    case .accessVirtual: 400
    case .accessPhysical: 120
    case .writeMemory: 20
    case .readMemory: 10
    case .buildTables: 14
    case .extendTables: 40
    case .changeEntry: 60
    case .changeRegister: 24
    case .switchMode: 10
    case .loadCR3: 16
    case .invalidatePage: 16
    case .invalidateContext: 10
    case .createSlot: 8
    case .deleteSlot: 5
    case .moveSlot: 4
    case .flagSlot: 8
    case .changeHost: 40
    case .zapAll: 3
    case .evict: 4
    case .refuse: 3
    case .look: 6
    case .interleave: 4
    case .protect: 80
    case .storeToTable: 40
    case .mapTable: 12
    case .trim: 2
    }
  }

  /// Whether it means anything to a machine that translates so.
  func isUseful(under mmu: MachineConfiguration.TranslationKind) -> Bool {
    switch self {
    case .trim: mmu == .shadow
    default: true
    }
  }

  /// How many times more often the action is chosen under an emphasis.
  func factor(_ focus: FuzzConfiguration.Focus?) -> UInt64 {
    switch (focus, self) {
    case (.memslots, .createSlot), (.memslots, .deleteSlot), (.memslots, .moveSlot),
      (.memslots, .flagSlot):
      8
    case (.shadow, .storeToTable), (.shadow, .mapTable): 4
    case (.shadow, .changeEntry), (.shadow, .loadCR3), (.shadow, .invalidatePage),
      (.shadow, .invalidateContext), (.shadow, .switchMode), (.shadow, .changeRegister),
      (.shadow, .trim):
      2
    case (.host, .changeHost): 6
    case (.host, .refuse): 3
    case (.direct, .accessPhysical), (.direct, .zapAll), (.direct, .evict): 3
    default: 1
    }
  }

  /// Whether a run may do without it: nothing can be found where nobody accesses anything.
  var isOptional: Bool { self != .accessVirtual && self != .accessPhysical }
}
