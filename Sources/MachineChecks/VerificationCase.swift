import PagingUnits

/// One case of the comparison: the entries on the way of one access, and the access.
struct VerificationCase {
  /// The entries by depth - 1.
  var entries = InlineArray<5, UInt64>(repeating: 0)
  /// What the access does.
  var kind = AccessKind.read
  /// On whose behalf; second dimensions do not ask.
  var privilege = Privilege.user
  /// PKRU.
  var pkru: UInt32 = 0
}

/// What one side says about a case, in terms that both can be brought to.
struct VerificationAnswer {
  /// What comes of the access.
  enum Ending: Hashable {
    /// It is permitted.
    case translated
    /// A page fault, or a nested page fault, with this code.
    case fault(UInt32)
    /// The address is not canonical.
    case nonCanonical
    /// An EPT violation; bits 5:0 of the qualification.
    case violation(UInt64)
    /// An EPT misconfiguration.
    case misconfiguration
    /// Anything that no case may come to.
    case other
  }

  /// What comes of the access.
  var ending: Ending
  /// The translated address; 0 otherwise.
  var address: UInt64 = 0
  /// Bit 0 read, 1 write, 2 fetch: what the same privilege may do without another walk.
  var usable: UInt8 = 0
  /// Whether the leaf is global.
  var isGlobal = false
  /// The entries afterwards, by depth - 1.
  var entries = InlineArray<5, UInt64>(repeating: 0)
}
