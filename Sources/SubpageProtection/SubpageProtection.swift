public import PageTables
public import PagingUnits
import Synchronization

/// Sub-page write permissions: which 128 bytes of a protected page the guest may write (SDM volume
/// 3C, "Sub-Page Write Permissions"; KVM's posted series, version 12).
///
/// The VMM says for each page which of its 32 sub-pages may be written. The leaf of a protected
/// page is *armed*: not writable, but judged by the sub-page-permission tables, which this room
/// builds:
///
///     SPPTP ──▶ L4E ──▶ L3E ──▶ L2E ──▶ L1E: 32 permissions of one page
///                               │
///                               └ bit 0 cleared, its table kept, when any of the 512 pages changes
///
/// The tables are filled on a miss, 2 MiB at a time, from the maps of the memslots. Nothing else
/// changes an L1E, so under a valid L2E each of them says what the map says.
public struct SubpageProtection: ~Copyable, Sendable {
  /// What the processor and the machine's maker allow.
  public struct Configuration: Sendable {
    /// Whether the processor has the feature, and walks extended page tables.
    public var support = Support.absent
    /// Which defects of the posted series are wanted.
    public var quirks: SubpageQuirks = []

    /// Without the feature, and without defects.
    public init() {}
  }

  /// Whether a processor has the feature.
  public enum Support: Hashable, Sendable {
    /// It does.
    case present
    /// It does not.
    case absent
  }

  /// The most pages that one call may name (KVM: `KVM_SUBPAGE_MAX_PAGES`, which is what
  /// `KVM_CHECK_EXTENSION` answers).
  public static let pageLimit = 512
  /// The frame behind the last that the tables tell from a lower one: their indices take bits 47:12
  /// of an address.
  public static let frameLimit = GuestFrame(1 << 36)

  /// What the processor and the machine's maker allow.
  public let configuration: Configuration
  private let isSwitchedOn = Atomic<Bool>(false)
  /// Protection that is switched off.
  public init(_ configuration: Configuration) { self.configuration = configuration }

  /// Whether it was switched on.
  public var isEnabled: Bool { isSwitchedOn.load(ordering: .acquiring) }

  /// Switches it on; whether it was off (KVM: `KVM_ENABLE_CAP` with `KVM_CAP_X86_SPP`).
  ///
  /// The caller has every processor load its roots again. Maps stay as they are.
  public func enable() throws(SubpageError) -> Bool {
    if configuration.quirks.contains(.exclusiveWithNested) { throw .nested }
    guard configuration.support == .present else { throw .unsupported }
    return !isSwitchedOn.exchange(true, ordering: .acquiringAndReleasing)
  }

  /// A slot has gone: the map that it had is given back.
  ///
  /// The caller holds the memslot lock and the writer side of the MMU lock.
  public func slotWent(_ row: MapRow, _ tables: borrowing PageTables) {
    tables.subpages.free(row)
    if configuration.quirks.contains(.deletionDisables) {
      isSwitchedOn.store(false, ordering: .releasing)
    }
  }

  /// A slot has come; one of the series' defects is that it comes without a map.
  ///
  /// The caller holds the memslot lock and the writer side of the MMU lock.
  public func slotCame(_ row: MapRow, _ tables: borrowing PageTables) {
    if isOn(.newSlotsHaveNoMap) && isEnabled { tables.subpages.withhold(row) }
  }

  /// Whether one of the series' defects is wanted.
  public func isOn(_ quirk: SubpageQuirks) -> Bool { configuration.quirks.contains(quirk) }
}
