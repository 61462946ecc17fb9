/// What the entries of a guest's walk say together.
struct GuestRights: OptionSet {
  let rawValue: UInt8

  /// The three rights proper, of which sets are counted.
  static let write = GuestRights(rawValue: 1)
  static let user = GuestRights(rawValue: 2)
  static let execute = GuestRights(rawValue: 4)
  /// The leaf's dirty bit is set.
  static let dirty = GuestRights(rawValue: 8)
  /// The leaf is global, and CR4.PGE is 1.
  static let global = GuestRights(rawValue: 16)

  /// Everything, as without paging.
  static let all: GuestRights = [.write, .user, .execute, .dirty]
}

/// What the entries of the second dimension say together.
struct SecondRights: OptionSet {
  let rawValue: UInt8

  static let read = SecondRights(rawValue: 1)
  static let write = SecondRights(rawValue: 2)
  static let execute = SecondRights(rawValue: 4)
  /// A write needs no dirty bit set in the second dimension any more.
  static let dirty = SecondRights(rawValue: 8)
  /// A write went through because sub-pages let it; the next is judged by them too.
  static let subpages = SecondRights(rawValue: 16)

  /// Everything, as without a second dimension.
  static let all: SecondRights = [.read, .write, .execute, .dirty]
}
