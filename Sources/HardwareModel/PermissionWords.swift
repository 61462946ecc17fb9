import PagingUnits

/// Who may do what on a page, worked out beforehand: one word for each kind of privilege, three
/// bits in it for each set of rights.
struct PermissionWords {
  /// What the rules tell privileges by.
  enum Holder: Int {
    /// A user access.
    case user
    /// A supervisor access that SMAP stops at user pages.
    case supervisor
    /// An explicit supervisor access with EFLAGS.AC set.
    case exempt
  }

  // Three fields and no array: an array is copied to be indexed.
  private var user: UInt32 = 0
  private var supervisor: UInt32 = 0
  private var exempt: UInt32 = 0

  init() {}

  /// The words of a rule for a kind of access, who makes it, and the page's rights.
  init(_ permits: (AccessKind, Holder, GuestRights) -> Bool) {
    for number in 0..<9 as Range<UInt8> {
      guard let holder = Holder(rawValue: Int(number / 3)),
        let kind = AccessKind(rawValue: number % 3)
      else { continue }
      let bit = UInt32(HardwareAccess.need(kind).rawValue)
      for rights in 0..<8 as Range<UInt8>
      where permits(kind, holder, GuestRights(rawValue: rights)) {
        let place = bit << (3 * UInt32(rights))
        switch holder {
        case .user: user |= place
        case .supervisor: supervisor |= place
        case .exempt: exempt |= place
        }
      }
    }
  }

  /// What a holder may do on a page with these rights.
  @inline(__always) func usable(_ holder: Holder, _ rights: GuestRights) -> Translation.Usable {
    let word =
      switch holder {
      case .user: user
      case .supervisor: supervisor
      case .exempt: exempt
      }
    let set = UInt32(rights.rawValue & 7)
    return Translation.Usable(rawValue: UInt8(truncatingIfNeeded: word &>> (3 &* set)) & 7)
  }
}
