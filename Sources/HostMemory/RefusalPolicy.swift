/// Which allocations a host refuses although it has frames, so that tests can stand in every door.
///
/// Allocations are counted from the moment the policy is set, from 1.
public enum RefusalPolicy: Hashable, Sendable {
  /// None.
  case never
  /// Exactly the one with this number.
  case once(UInt64)
  /// The one with this number and all that follow.
  case from(UInt64)
  /// Each whose number is a multiple of this, which is at least 1.
  case every(UInt64)

  func refuses(_ number: UInt64) -> Bool {
    switch self {
    case .never: false
    case .once(let nth): number == nth
    case .from(let nth): number >= nth
    case .every(let nth): nth != 0 && number.isMultiple(of: nth)
    }
  }
}
