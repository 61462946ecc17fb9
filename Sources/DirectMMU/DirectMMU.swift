import GuestMemory
import HostMemory
import PageTables
public import PagingUnits
import Synchronization

/// Two-dimensional paging: the tables that map a guest's physical memory for the processor's
/// second walk (KVM: the TDP MMU).
///
/// The MMU holds little of its own: what it built lies in `PageTables`, one tree of tables a role.
/// Each function takes the rooms that it works with; none of them allocates, takes a reference
/// count or keeps anything beyond the call.
public struct DirectMMU: ~Copyable, Sendable {
  /// What the processor and the machine's maker allow.
  public struct Configuration: Sendable {
    /// The levels of a root: 4 or 5.
    public var rootLevel: Level
    /// The largest page that a leaf may map (KVM: `max_huge_page_level`).
    public var largestPage: Level
    /// Whether a fault also maps neighbours that the host already has.
    public var prefetch: Prefetch
    /// The frame behind the last that the guest can address (KVM: `kvm_mmu_max_gfn` plus one).
    public var frameLimit: GuestFrame

    /// A configuration in full.
    public init(
      rootLevel: Level, largestPage: Level, prefetch: Prefetch, frameLimit: GuestFrame
    ) {
      precondition(rootLevel >= .level4, "a direct root has four or five levels")
      precondition(largestPage <= .page1G, "no leaf is larger than 1 GiB")
      self.rootLevel = rootLevel
      self.largestPage = largestPage
      self.prefetch = prefetch
      self.frameLimit = frameLimit
    }
  }

  /// Whether a fault also maps neighbours that the host already has.
  public enum Prefetch: Hashable, Sendable {
    /// Only the page that was asked for, as KVM's TDP MMU does.
    case none
    /// The empty entries of the aligned group of eight, as KVM's direct map without the TDP MMU.
    case alignedGroup
  }

  /// What the processor and the machine's maker allow.
  public let configuration: Configuration
  let currentGeneration = Atomic<UInt8>(0)

  /// A direct MMU without a root.
  public init(_ configuration: Configuration) { self.configuration = configuration }

  /// The generation that new tables are stamped with, 0 or 1 (KVM: `mmu_valid_gen`).
  public var generation: UInt8 { currentGeneration.load(ordering: .relaxed) }
}
