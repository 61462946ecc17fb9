public import PagingUnits

/// A processor's page-modification log: where it notes each page whose EPT dirty bit it sets (SDM
/// volume 3C, "Page-Modification Logging").
///
/// Entries are written from the last to the first. One that would be written with an index beyond
/// the page makes the processor leave the guest instead, and the access is not performed.
public struct ModificationLog: Hashable, Sendable {
  /// How many entries the page has.
  public static var capacity: Int { 512 }
  /// The basic reason of an exit for a full log.
  public static var exitReason: UInt64 { 62 }

  /// The PML-address field: where the page of entries lies.
  public var page: HostPhysical
  /// The PML-index field: the entry that is written next, 511 to 0; 65,535 behind the last.
  public var index: UInt16

  /// A log in the page at an address, which entries are written to from `index` downwards.
  public init(page: HostPhysical, index: UInt16 = 511) {
    self.page = page
    self.index = index
  }

  /// Whether no entry is left.
  public var isFull: Bool { index >= UInt16(Self.capacity) }
}
