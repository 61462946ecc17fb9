public import PagingUnits

/// An entry of a table that the MMU itself builds and a processor walks (KVM: spte).
///
/// The bits mean something only together with the machine's `EntryEncoding`; what does not depend
/// on it is said here. A guest's entry is another type in another room.
public struct SPTE: Hashable, Sendable {
  /// The word as it lies in the table.
  public let raw: UInt64

  /// Wraps a word read from a table.
  public init(raw: UInt64) { self.raw = raw }

  /// What a fresh table is filled with: not present, and no #VE (KVM: `SHADOW_NONPRESENT_VALUE`).
  public static let nonpresent = SPTE(raw: 1 << 63)

  /// An entry on its way out: whoever meets it comes back later (KVM: `FROZEN_SPTE`).
  ///
  /// The low bits have the pattern of KVM 6.12; no present, MMIO or empty entry has it.
  public static let frozen = SPTE(raw: 1 << 63 | 0x5A0)

  /// Whether this is the frozen value.
  public var isFrozen: Bool { self == .frozen }

  /// Whether the MMU calls the entry present: a software bit decides, no hardware bit does.
  ///
  /// An entry that waits for access tracking has no hardware right and is present all the same.
  public var isPresent: Bool { raw & SPTELayout.mmuPresentBit != 0 }

  /// Whether a large page or the level says that the entry maps memory (KVM: `is_last_spte`).
  public func isLeaf(at level: Level) -> Bool {
    level == .page4K || raw & SPTELayout.pageSizeBit != 0
  }

  /// Whether the entry is present and maps memory.
  public func isPresentLeaf(at level: Level) -> Bool { isPresent && isLeaf(at: level) }

  /// Whether the entry is present and points to a table.
  public func isPresentTable(at level: Level) -> Bool { isPresent && !isLeaf(at: level) }

  /// Whether a processor may write through the entry now.
  public var isWritable: Bool { raw & SPTELayout.writeBit != 0 }

  /// The entry with some bits added and others removed.
  func setting(_ added: UInt64, clearing removed: UInt64 = 0) -> SPTE {
    SPTE(raw: (raw & ~removed) | added)
  }
}
