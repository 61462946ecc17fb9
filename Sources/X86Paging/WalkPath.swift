public import Mutations
public import PagingUnits

/// One entry that a walk read.
public struct WalkStep: Hashable, Sendable {
  /// The entry's bits as they were read.
  public var entry: UInt64
  /// Where it was read; for a PDPTE register, where the register was loaded from.
  public var address: GuestPhysical
  /// The rights accumulated before the entry: those of the table that holds it (KVM: `pt_access`).
  public var rightsAbove: AccessRights

  /// One entry at one place.
  public init(entry: UInt64, address: GuestPhysical, rightsAbove: AccessRights) {
    self.entry = entry
    self.address = address
    self.rightsAbove = rightsAbove
  }

  /// The frame of the table that holds the entry (KVM: `table_gfn`).
  public var tableFrame: GuestFrame { address.frame }
}

/// The entries that a walk read, from the top down.
public struct WalkPath: Sendable {
  /// Steps at `level - 1`.
  @usableFromInline var steps: InlineArray<5, WalkStep>
  /// The number of the topmost level; 0 when the walk read nothing.
  public let rootDepth: Int
  /// The number of the lowest level read; `rootDepth + 1` when the walk read nothing.
  public var lowestDepth: Int

  // `@inlinable`: the path is written at each level of a walk that a client specialises, and a path
  // that is asked from outside is copied.
  /// A path that read nothing yet.
  @inlinable public init(rootDepth: Int) {
    self.rootDepth = rootDepth
    lowestDepth = rootDepth &+ 1
    steps = .init(
      repeating: WalkStep(entry: 0, address: GuestPhysical(0), rightsAbove: .all))
  }

  /// The number of entries read.
  public var count: Int { rootDepth &+ 1 &- lowestDepth }

  /// The level of the last entry read; `nil` when the walk read nothing.
  public var lowest: Level? { count == 0 ? nil : Level(lowestDepth) }

  /// The entry read at `level`; `nil` where the walk did not come by.
  @inlinable public subscript(level: Level) -> WalkStep? {
    let depth = Int(level.depth)
    return lowestDepth <= depth && depth <= rootDepth ? steps[depth - 1] : nil
  }

  /// Notes an entry one level further down.
  @inlinable public mutating func append(_ step: WalkStep, at depth: Int) {
    if Mutation.walkerArraysFourLevels.isActive && depth == 5 {
      steps[0] = step
      lowestDepth = depth
      return
    }
    steps[depth &- 1] = step
    lowestDepth = depth
  }
}
