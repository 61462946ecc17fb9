import GuestMemory
public import PageTables
public import PagingUnits
import Synchronization
public import X86Paging

/// What a processor's hardware walks (KVM: `mmu->root`).
public enum ShadowRoot: Hashable, Sendable {
  /// Nothing is loaded.
  case none
  /// A shadow page of the guest's own root table.
  case page(ShadowPageID)
  /// Bare tables of the processor's own.
  case tables
  /// A shadow page of the processor's own.
  case local(ShadowPageID)
  /// An empty table: the guest's root lies where there is no memory, and every access faults.
  case dummy
}

/// A root that a processor used before and may use again (KVM: `kvm_mmu_root_info`).
public struct KeptRoot: Hashable, Sendable {
  /// The page; `.none` for an empty place.
  public var page: ShadowPageID
  /// CR3 when it was in use, PCID included.
  public var pointer: UInt64

  /// An empty place.
  static let empty = KeptRoot(page: .none, pointer: 0)
}

/// What the shadow MMU keeps for one processor (KVM: `struct kvm_mmu`).
public struct ShadowState: ~Copyable {
  /// How many roots are kept beside the current one (KVM: `KVM_MMU_NUM_PREV_ROOTS`).
  public static let keptCount = 3

  /// How the guest's tables are read; `nil` before the first use.
  public internal(set) var role: ProcessorRole?
  /// The role of the root.
  public internal(set) var rootRole = ShadowPageRole(word: 0)
  /// The rules by which the guest's tables are walked.
  public internal(set) var rules: WalkRules
  /// What the hardware walks.
  public internal(set) var root = ShadowRoot.none
  /// CR3 for which the root was loaded.
  public internal(set) var pointer: UInt64 = 0
  /// The PDPTE registers for which it was.
  public internal(set) var directory: InlineArray<4, UInt64> = .init(repeating: 0)
  /// The roots before, the most recent first.
  public internal(set) var kept: InlineArray<3, KeptRoot> = .init(repeating: .empty)
  /// The bare tables of special roots.
  public internal(set) var special = SpecialTables()
  /// Whether the root leads nowhere although the guest's tables do, so that another is needed.
  ///
  /// Only the processor's own thread uses it. An atomic has an address, and with it the whole
  /// state: it is lent as it lies, where half a kilobyte would be copied for each call.
  private let needsReload = Atomic(false)
  /// Tables set aside.
  public var cache = TableCache()
  /// The memslot that answered last.
  var slotHint = SlotHint()
  /// The device page that was met last.
  var mmio = ShadowMMIOCache()

  /// Nothing yet.
  public init() { rules = WalkRules(ControlRegisters(), features: PagingFeatures()) }

  var mustReload: Bool {
    get { needsReload.load(ordering: .relaxed) }
    nonmutating set { needsReload.store(newValue, ordering: .relaxed) }
  }

  /// How many levels the guest's tables have; 0 with paging off.
  var guestDepth: Int { role?.base.depth ?? 0 }
}

/// The bare tables of a processor's special roots (KVM: `pae_root`, `pml4_root`, `pml5_root`).
///
/// They are nobody's shadow pages. They stay from the first use until the processor goes.
public struct SpecialTables: Sendable {
  /// The four PDPTEs.
  public internal(set) var pae: HostFrame?
  /// The table above, whose entry 0 alone is used.
  public internal(set) var level4: HostFrame?
  /// The table above that.
  public internal(set) var level5: HostFrame?
  /// The empty table that stands in for a root without memory.
  public internal(set) var dummy: HostFrame?
  /// The shadow pages that the PDPTEs point to.
  public internal(set) var pages: InlineArray<4, ShadowPageID> = .init(repeating: .none)

  /// How many of them there are, without the shadow pages.
  public var count: Int {
    (pae == nil ? 0 : 1) + (level4 == nil ? 0 : 1) + (level5 == nil ? 0 : 1)
      + (dummy == nil ? 0 : 1)
  }

  /// Whether some of the tables of a root of four or five levels are there, but not all.
  func isPartial(for depth: Int) -> Bool {
    let isComplete = pae != nil && level4 != nil && (depth < 5 || level5 != nil)
    return !isComplete && (pae != nil || level4 != nil || level5 != nil)
  }
}

/// The device page that a processor met last (KVM: `mmio_gva`, `mmio_gfn`, `mmio_gen`).
struct ShadowMMIOCache: Sendable {
  private var page: UInt64 = 0
  private var generation: UInt64 = .max

  /// Whether the page of this linear address was a device's in this generation of memslots.
  func holds(_ address: GuestVirtual, generation: UInt64) -> Bool {
    page == address.pageStart.raw && page != 0 && self.generation == generation
  }

  /// Remembers a page; not while memslots change.
  mutating func remember(_ address: GuestVirtual, generation: UInt64) {
    guard generation >> 63 == 0 else { return }
    page = address.pageStart.raw
    self.generation = generation
  }

  mutating func forget() { generation = .max }

  mutating func forget(_ address: GuestVirtual) {
    if page == address.pageStart.raw { forget() }
  }
}
