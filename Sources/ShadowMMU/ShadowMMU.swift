public import PagingUnits
import Synchronization

/// Shadow paging: tables that translate a guest's linear addresses straight to the host's frames,
/// kept after the guest's own tables (KVM: the shadow MMU).
///
/// Like the direct MMU it holds little of its own: what it built lies in `PageTables`, what it
/// keeps for a processor in `ShadowState`. Every operation takes the writer side of the MMU lock by
/// itself, and pays the flushes that it owes before it lets go.
public struct ShadowMMU: ~Copyable, Sendable {
  /// What the processor and the machine's maker allow.
  public struct Configuration: Sendable {
    /// The largest page that a leaf may map.
    public var largestPage: Level
    /// How roots are made that no table of the guest's stands behind.
    public var specialRoots: SpecialRootDesign
    /// Whether a fault also maps neighbours that guest and host already have.
    public var prefetch: Prefetch
    /// The frame behind the last that the guest can address.
    public var frameLimit: GuestFrame
    /// The most shadow pages, at least 64 (KVM: `KVM_SET_NR_MMU_PAGES`).
    public var pageLimit: Int

    /// A configuration in full.
    public init(
      largestPage: Level, specialRoots: SpecialRootDesign, prefetch: Prefetch,
      frameLimit: GuestFrame, pageLimit: Int
    ) {
      precondition(largestPage <= .page1G, "no leaf is larger than 1 GiB")
      precondition(pageLimit >= 64, "shadow paging needs 64 pages at least")
      self.largestPage = largestPage
      self.specialRoots = specialRoots
      self.prefetch = prefetch
      self.frameLimit = frameLimit
      self.pageLimit = pageLimit
    }
  }

  /// Whether a fault also maps neighbours that guest and host already have.
  public enum Prefetch: Hashable, Sendable {
    /// Only the page that was asked for.
    case none
    /// The aligned group of eight pages around it (KVM: `PTE_PREFETCH_NUM`).
    case alignedGroup
  }

  /// How roots are made that no table of the guest's stands behind.
  public enum SpecialRootDesign: Hashable, Sendable, CaseIterable {
    /// Bare tables of the processor's own (KVM: `pae_root`, `pml4_root`, `pml5_root`).
    case tables
    /// Shadow pages of the processor's own, as the patch series of 2022 proposed.
    case localPages
  }

  /// What the processor and the machine's maker allow.
  public let configuration: Configuration
  let currentGeneration = Atomic<UInt8>(0)
  let currentLimit: Atomic<Int>
  /// How many shadow pages have a guest's table behind them (KVM: `indirect_shadow_pages`).
  let indirectPages = Atomic<Int>(0)

  /// A shadow MMU without a page.
  public init(_ configuration: Configuration) {
    self.configuration = configuration
    currentLimit = Atomic(configuration.pageLimit)
  }

  /// The generation that new pages are stamped with, 0 or 1 (KVM: `mmu_valid_gen`).
  public var generation: UInt8 { currentGeneration.load(ordering: .relaxed) }

  /// The most shadow pages.
  public var pageLimit: Int { currentLimit.load(ordering: .relaxed) }

  /// How many shadow pages have a guest's table behind them.
  public var indirectPageCount: Int { indirectPages.load(ordering: .sequentiallyConsistent) }
}
