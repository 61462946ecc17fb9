public import PagingUnits

/// What a VMM asks of sub-page protection.
public struct SubpageStep: Hashable, Sendable {
  /// What is asked.
  public var request: Request
  /// The first page.
  public var address = GuestPhysical(0)
  /// Whose memslots are meant.
  public var space = AddressSpace.normal
  /// The flags of the call, none of which is known.
  public var flags: UInt32 = 0

  /// What is asked.
  public enum Request: Hashable, Sendable {
    /// To switch it on.
    case enable
    /// What may be written of so many pages.
    case get(count: Int)
    /// To let this be written, one word a page.
    case set([UInt32])
  }

  /// A request of the normal memslots.
  public init(_ request: Request, at address: GuestPhysical = GuestPhysical(0)) {
    self.request = request
    self.address = address
  }

  /// The most pages that a step may name: more than any call permits.
  public static let countLimit: UInt64 = 4096
}

/// An entry of the sub-page-permission tables, decoded.
public struct SubpageEntryView: Hashable, Sendable {
  /// Where it lies.
  public var place: HostPhysical
  /// The bits.
  public var raw: UInt64
  /// The level of its table.
  public var level: Level
  /// Which sub-pages may be written, at level 1.
  public var access: UInt32
}
