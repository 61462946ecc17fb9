public import PagingUnits
public import SubpageProtection

/// What a machine is made of; everything that the maker of a machine may choose.
public struct MachineConfiguration: Sendable {
  /// Whose processors: Intel's walk EPT, AMD's walk NPT.
  public var vendor = Vendor.intel
  /// The host's MAXPHYADDR, 32…52 bits.
  public var physicalBits = 46
  /// The bit of a physical address that says that memory is encrypted (AMD's SME): from the host's
  /// MAXPHYADDR, which is the reduced one then, to 51; `nil` on a host that encrypts none.
  public var encryptionBit: Int?
  /// The MAXPHYADDR that the guest sees, 32…52 bits, at most the host's.
  public var guestPhysicalBits = 46
  /// Whether the guest's tables may map 1 GiB pages.
  public var gigabytePages = Support.present
  /// The bits of CR4 that the guest's processor lacks: setting one raises #GP.
  ///
  /// Without being told, what the model does not have: bits above PKE, 15 and 19.
  public var reservedCR4: UInt64 = ~0x77_7FFF
  /// The bits of EFER that the guest's processor lacks: setting one raises #GP.
  public var reservedEFER: UInt64 = ~0xFD01
  /// How the machine's own tables translate.
  public var mmu = TranslationKind.direct
  /// How shadow paging makes roots that no table of the guest's stands behind.
  public var specialRoots = SpecialRootKind.tables
  /// The most shadow pages, at least 64; `nil` for a fiftieth of the guest's pages (KVM:
  /// `KVM_SET_NR_MMU_PAGES`).
  public var shadowPageLimit: Int?
  /// The levels of a direct root: 4 or 5.
  public var rootLevel = Level.level4
  /// The largest page that a leaf maps.
  public var largestPage = Level.page1G
  /// Whether the processor keeps accessed and dirty bits in EPT; NPT always does.
  public var accessedDirty = Support.present
  /// Whether EPT pages may be executable and not readable.
  public var executeOnly = Support.present
  /// Whether the processor has sub-page write permissions, which go with EPT and direct tables
  /// only.
  public var subpages = Support.absent
  /// What becomes of the accessed and dirty bits of a guest's entries in sub-pages that may not be
  /// written.
  public var guestMarks = GuestMarks.judged
  /// Which defects of the posted series of KVM sub-page protection has.
  public var subpageQuirks: SubpageQuirks = []
  /// Whether a fault also maps neighbours that the host already has.
  public var prefetch = Support.present
  /// How many sets of four translations a processor keeps, a power of two; 0 keeps none.
  public var translationSets = 512
  /// Whether a processor keeps upper entries and guest-physical translations between walks.
  public var keepsWalks = Support.present
  /// How many virtual processors, 1…4095.
  public var processors = 1
  /// The most tables that the MMU may build.
  public var tableLimit = 1 << 20
  /// How often one access may come back to the MMU before the machine gives up on it.
  public var retryLimit = 1000

  /// Whose processors a machine has.
  public enum Vendor: String, Hashable, Sendable, CaseIterable {
    /// EPT.
    case intel
    /// NPT.
    case amd
  }

  /// What sub-page protection makes of the marks that a walk sets in a guest's entries.
  public enum GuestMarks: Hashable, Sendable {
    /// They are writes like others: where the map refuses them they stay clear, as in memory that
    /// is read-only.
    case judged
    /// They are set: only what instructions store is refused.
    case permitted
  }

  /// How the machine's own tables translate.
  public enum TranslationKind: String, Hashable, Sendable, CaseIterable {
    /// Guest-physical addresses, in a second dimension behind the guest's own tables.
    case direct
    /// Linear addresses, in the place of the guest's own tables.
    case shadow
  }

  /// How shadow paging makes roots that no table of the guest's stands behind.
  public enum SpecialRootKind: String, Hashable, Sendable, CaseIterable {
    /// Bare tables of each processor.
    case tables
    /// Shadow pages of each processor.
    case localPages = "local-pages"
  }

  /// Whether a processor has a feature.
  public enum Support: Hashable, Sendable {
    /// It does.
    case present
    /// It does not.
    case absent
  }

  /// One Intel processor with four levels and every feature.
  public init() {}
}
