public import PagingUnits
public import SubpageProtection
public import VirtualMachine

/// What happens to a machine, step by step, and what must come of it: a bug report, a rule's test,
/// or what the fuzzer found.
public struct Scenario: Hashable, Sendable {
  /// The rule, as a sentence.
  public var name: String
  /// The machine to which it happens.
  public var machine: ScenarioMachine
  /// What happens, in this order.
  public var steps: [Step]

  /// A scenario in full.
  public init(name: String, machine: ScenarioMachine, steps: [Step]) {
    self.name = name
    self.machine = machine
    self.steps = steps
  }
}

/// One step: an operation, and what must come of it.
public struct Step: Hashable, Sendable {
  /// What happens.
  public var operation: Operation
  /// What must come of it; empty accepts any lawful outcome.
  public var expectation: Expectation
  /// The line of the file at which it stands, from 1; 0 for a step that came from no file.
  public var line: Int

  /// A step in full.
  public init(_ operation: Operation, expect expectation: Expectation = .anything, line: Int = 0) {
    self.operation = operation
    self.expectation = expectation
    self.line = line
  }
}

/// The machine of a scenario: what its `machine` and `vm` sections say.
public struct ScenarioMachine: Hashable, Sendable {
  /// Whose processors.
  public var vendor = MachineConfiguration.Vendor.intel
  /// The host's MAXPHYADDR, 32…52 bits.
  public var physicalBits = 46
  /// The MAXPHYADDR that the guest sees, 32…52 bits, at most the host's.
  public var guestPhysicalBits = 46
  /// The bit of an address that says that memory is encrypted; `nil` for none.
  public var encryptionBit: Int?
  /// The host's memory in bytes.
  public var hostBytes: UInt64 = 1 << 30
  /// The levels of the host-owned root: 4 or 5.
  public var rootLevel = Level.level4
  /// What the processors can do.
  public var features = ScenarioFeatures.standard
  /// How many virtual processors.
  public var processors = 1
  /// How the machine's own tables translate.
  public var mmu = MachineConfiguration.TranslationKind.direct
  /// How shadow paging makes roots that no table of the guest's stands behind.
  public var specialRoots = MachineConfiguration.SpecialRootKind.tables
  /// The most shadow pages, at least 64; `nil` for a fiftieth of the guest's pages.
  public var shadowPageLimit: Int?
  /// Which defects of KVM's posted series sub-page protection has.
  public var subpageQuirks: SubpageQuirks = []
  /// The largest page that a leaf maps.
  public var largestPage = Level.page1G
  /// Whether a fault also maps neighbours.
  public var prefetch = MachineConfiguration.Support.absent
  /// How many sets of four translations a processor keeps, a power of two; 0 keeps none.
  public var translationSets = 512
  /// The seed of what hardware and the host do at any time, unasked for and unseen; `nil` for
  /// nothing.
  public var mischief: UInt64?

  /// One Intel processor with every feature on a host of 1 GiB.
  public init() {}

  /// The features that have a bit in CR4.
  private static let controlBits: [(ScenarioFeatures, UInt64)] = [
    (.fiveLevels, 12), (.supervisorExecutionPrevention, 20), (.supervisorAccessPrevention, 21),
    (.protectionKeys, 22),
  ]

  /// The machine in the words of its maker.
  public var configuration: MachineConfiguration {
    var configuration = MachineConfiguration()
    configuration.vendor = vendor
    configuration.physicalBits = physicalBits
    configuration.guestPhysicalBits = guestPhysicalBits
    configuration.encryptionBit = encryptionBit
    configuration.rootLevel = rootLevel
    configuration.mmu = mmu
    configuration.specialRoots = specialRoots
    configuration.shadowPageLimit = shadowPageLimit
    configuration.largestPage =
      features.contains(.gigabytePages)
      ? largestPage
      : min(
        largestPage, .page2M)
    configuration.accessedDirty = features.contains(.accessedDirty) ? .present : .absent
    configuration.gigabytePages = features.contains(.gigabytePages) ? .present : .absent
    for (feature, bit) in Self.controlBits where !features.contains(feature) {
      configuration.reservedCR4 |= 1 << bit
    }
    if !features.contains(.noExecute) { configuration.reservedEFER |= 1 << 11 }
    configuration.executeOnly = features.contains(.executeOnly) ? .present : .absent
    configuration.subpages = features.contains(.subpages) ? .present : .absent
    configuration.subpageQuirks = subpageQuirks
    configuration.prefetch = prefetch
    configuration.translationSets = translationSets
    configuration.keepsWalks = translationSets > 0 ? .present : .absent
    configuration.processors = processors
    configuration.tableLimit = 1 << 16
    // While steps run interleaved, emptying a root alone lets others in thousands of times.
    configuration.retryLimit = 100_000
    return configuration
  }
}

/// What the processors of a scenario's machine can do.
///
/// A guest that sets a control bit of a feature that is absent gets a general-protection fault.
public struct ScenarioFeatures: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt16
  /// Wraps the bits.
  public init(rawValue: UInt16) { self.rawValue = rawValue }
  /// EFER.NXE.
  public static let noExecute = ScenarioFeatures(rawValue: 1)
  /// CR4.SMEP.
  public static let supervisorExecutionPrevention = ScenarioFeatures(rawValue: 2)
  /// CR4.SMAP.
  public static let supervisorAccessPrevention = ScenarioFeatures(rawValue: 4)
  /// CR4.PKE.
  public static let protectionKeys = ScenarioFeatures(rawValue: 8)
  /// 1 GiB pages, in the guest's tables and in the host-owned ones.
  public static let gigabytePages = ScenarioFeatures(rawValue: 16)
  /// CR4.LA57.
  public static let fiveLevels = ScenarioFeatures(rawValue: 32)
  /// Accessed and dirty bits in EPT; NPT always has them.
  public static let accessedDirty = ScenarioFeatures(rawValue: 64)
  /// Page-modification logging; it has no effect before dirty logging exists.
  public static let modificationLogging = ScenarioFeatures(rawValue: 128)
  /// EPT entries that are executable and not readable.
  public static let executeOnly = ScenarioFeatures(rawValue: 256)

  /// Sub-page write permissions, which go with EPT.
  public static let subpages = ScenarioFeatures(rawValue: 512)

  /// What `features` is without being written.
  public static let standard: ScenarioFeatures = [
    .noExecute, .supervisorExecutionPrevention, .supervisorAccessPrevention, .protectionKeys,
    .gigabytePages, .fiveLevels, .accessedDirty, .modificationLogging, .executeOnly,
  ]

  /// The names by which a file says them.
  public static let names: [(name: String, feature: ScenarioFeatures)] = [
    ("nx", .noExecute), ("smep", .supervisorExecutionPrevention),
    ("smap", .supervisorAccessPrevention), ("pku", .protectionKeys), ("1g-pages", .gigabytePages),
    ("la57", .fiveLevels), ("ad-bits", .accessedDirty), ("pml", .modificationLogging),
    ("execute-only", .executeOnly), ("spp", .subpages),
  ]
}
