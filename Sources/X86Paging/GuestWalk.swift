public import PagingUnits

/// What a walk does about accessed and dirty bits.
public enum AccessedDirtyMarking: UInt8, Hashable, Sendable, CaseIterable {
  /// Sets them, as a processor would.
  case update
  /// Leaves memory alone and reports them as they are.
  case report
}

/// A page that a walk found.
public struct GuestMapping: Hashable, Sendable {
  /// The address of the very byte.
  public var address: GuestPhysical
  /// The level of the leaf.
  public var level: Level
  /// The size of the page in bytes; 4 MiB for a large page of 32-bit paging.
  public var byteCount: UInt64
  /// What all entries together permit.
  public var rights: AccessRights
  /// The leaf's bits, as they are after the walk; 0 without paging.
  public var entry: UInt64
  /// Whether the accessed bits of all entries were set before the walk, or do not exist.
  public var wasAccessed: Bool
  /// Whether the leaf's dirty bit is set after the walk, or does not exist.
  public var isDirty: Bool
  /// Whether the leaf's global bit is set.
  public var isGlobal: Bool

  /// A page with every property given.
  public init(
    address: GuestPhysical, level: Level, byteCount: UInt64, rights: AccessRights, entry: UInt64,
    wasAccessed: Bool, isDirty: Bool, isGlobal: Bool
  ) {
    self.address = address
    self.level = level
    self.byteCount = byteCount
    self.rights = rights
    self.entry = entry
    self.wasAccessed = wasAccessed
    self.isDirty = isDirty
    self.isGlobal = isGlobal
  }

  /// The frame of the byte.
  public var frame: GuestFrame { address.frame }

  /// The leaf's protection key; meaningful in 4- and 5-level paging with CR4.PKE.
  public var protectionKey: UInt64 { GuestEntryLayout.protectionKey.value(in: entry) }

  /// The rights with which the page may be mapped by an access that was no write: writes are
  /// withheld from a clean page, so that the first one faults and can set the dirty bit.
  public var rightsWhileClean: AccessRights { isDirty ? rights : rights.subtracting(.write) }
}

/// Why a walk gives no page.
public struct WalkFault: Hashable, Sendable {
  /// What stopped the walk.
  public enum Cause: UInt8, Hashable, Sendable, CaseIterable {
    /// An entry is not present.
    case absentEntry
    /// A table lies where there is no memory.
    case absentTable
    /// A present entry has a reserved bit set, or is an EPT misconfiguration.
    case reservedBit
    /// The entries permit the page, but not this access.
    case permission
  }

  /// The error code, with what was asked.
  public var code: PageFaultErrorCode
  /// What stopped the walk.
  public var cause: Cause
  /// The level of the entry to blame; for a permission, the leaf's.
  public var level: Level
  /// The rights accumulated so far, the entry to blame included (bits 5:3 of an EPT violation's
  /// qualification).
  public var rights: AccessRights

  /// A fault with every property given.
  public init(code: PageFaultErrorCode, cause: Cause, level: Level, rights: AccessRights) {
    self.code = code
    self.cause = cause
    self.level = level
    self.rights = rights
  }
}

/// A walk of a guest's tables that has ended: what came of it, and every entry it read.
public struct GuestWalk: Sendable {
  /// What came of a walk.
  public enum Outcome: Hashable, Sendable {
    /// The access is permitted and goes here.
    case mapped(GuestMapping)
    /// The guest gets a page fault, or an EPT violation or misconfiguration.
    case fault(WalkFault)
    /// The address is not canonical.
    case nonCanonical
    /// A second dimension refused the address of a table or of the page; the memory knows why.
    case refused
    /// Somebody changed the tables under the walk more often than it is willing to restart.
    case contended
  }

  /// What came of it.
  public let outcome: Outcome
  /// The entries it read.
  public let path: WalkPath

  /// A walk that has ended.
  public init(_ outcome: Outcome, _ path: WalkPath) {
    self.outcome = outcome
    self.path = path
  }

  /// How often a walk starts over because an entry changed under it.
  public static let restartLimit = 64
}
