import PagingUnits

/// A translation that a processor keeps.
struct KeptTranslation {
  /// The page's first linear byte, with the level in the bits below; `empty` for none.
  var key: UInt64 = KeptTranslation.empty
  /// The tag of the second dimension that it came through.
  var root: UInt64 = 0
  /// Whose it is: `TranslationTag.space`.
  var space: UInt64 = 0
  /// The page's first guest-physical byte.
  var guestPage: UInt64 = 0
  /// The page's first host-physical byte.
  var hostPage: UInt64 = 0
  /// The base-2 logarithm of the size of the guest's own page, of which this may be a part: INVLPG
  /// forgets all its parts.
  var guestShift: UInt8 = 12
  /// The smaller page of the two dimensions: how far this reaches.
  var level = Level.page4K
  var rights = GuestRights.all
  /// The protection key.
  var protectionKey: UInt8 = 0
  var second = SecondRights.all

  static let empty: UInt64 = 0

  /// No translation.
  init() {}

  /// What a walk found for an address.
  @inline(__always)
  init(
    linear: UInt64, _ tag: TranslationTag, guest: UInt64, _ found: SecondFound,
    _ guestLevel: Level, _ rights: GuestRights, key protectionKey: UInt8
  ) {
    level = min(guestLevel, found.level)
    let inPage = level.byteCount &- 1
    key = KeptTranslation.key(linear, level)
    root = tag.root
    space = tag.space
    guestPage = guest & ~inPage
    hostPage = found.host & ~inPage
    guestShift = 3 &+ 9 &* guestLevel.depth
    self.rights = rights
    self.protectionKey = protectionKey
    second = found.rights
  }

  /// The key of the page of a level around an address.
  @inline(__always) static func key(_ address: UInt64, _ level: Level) -> UInt64 {
    address & ~(level.byteCount &- 1) | UInt64(level.depth)
  }

  /// The page's first linear byte.
  var linear: UInt64 { key & ~0xFFF }
  var pcid: UInt16 { TranslationTag.pcid(of: space) }
  var identifier: UInt16 { TranslationTag.identifier(of: space) }

  /// Whether the guest's page around this one holds the address.
  func isPart(ofPageAround address: UInt64) -> Bool {
    (linear ^ address) &>> UInt64(guestShift) == 0
  }

  /// Whether an access with this tag may use it; a global one serves every PCID.
  @inline(__always) func serves(_ tag: TranslationTag) -> Bool {
    let ignored = rights.contains(.global) ? TranslationTag.pcidBits : 0
    return root == tag.root && (space ^ tag.space) & ~ignored == 0
  }

  /// What accesses may do without another walk, as far as the second dimension and the dirty bits
  /// permit.
  @inline(__always) var ready: Translation.Usable {
    var ready = Translation.Usable(rawValue: second.rawValue & 0b101)
    if second.isSuperset(of: [.write, .dirty]) && rights.contains(.dirty) { ready.insert(.write) }
    return ready
  }
}
