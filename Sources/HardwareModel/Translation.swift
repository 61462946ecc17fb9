public import PagingUnits

/// Where an access goes, and what else may go there without another walk.
public struct Translation: Hashable, Sendable {
  /// The host-physical address of the very byte.
  public var hostPhysical: HostPhysical
  /// The guest-physical address of the very byte.
  public var guestPhysical: GuestPhysical
  /// The smallest page of the two dimensions: how far the translation reaches.
  public var level: Level
  /// What the same privilege may do here now; a write only where both dirty bits are set already.
  public var usable: Usable
  /// Whether the guest's entry is global.
  public var isGlobal: Bool

  /// A translation in full.
  public init(
    hostPhysical: HostPhysical, guestPhysical: GuestPhysical, level: Level, usable: Usable,
    isGlobal: Bool
  ) {
    self.hostPhysical = hostPhysical
    self.guestPhysical = guestPhysical
    self.level = level
    self.usable = usable
    self.isGlobal = isGlobal
  }

  /// What an access may do without another walk.
  public struct Usable: OptionSet, Hashable, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// Wraps the bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Read data.
    public static let read = Usable(rawValue: 1)
    /// Write data.
    public static let write = Usable(rawValue: 2)
    /// Fetch instructions.
    public static let fetch = Usable(rawValue: 4)
  }
}
