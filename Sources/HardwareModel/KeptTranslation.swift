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
  /// The size of the guest's own page, of which this may be a part: INVLPG forgets all its parts.
  var guestByteCount: UInt64 = 4096
  /// The smaller page of the two dimensions: how far this reaches.
  var level = Level.page4K
  var rights = GuestRights()
  var second = SecondRights()

  static let empty: UInt64 = 0

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
    (linear ^ address) & ~(guestByteCount &- 1) == 0
  }

  /// Whether an access with this tag may use it; a global one serves every PCID.
  @inline(__always) func serves(_ tag: TranslationTag) -> Bool {
    let ignored = rights.global ? TranslationTag.pcidBits : 0
    return root == tag.root && (space ^ tag.space) & ~ignored == 0
  }
}

/// What the entries of the second dimension say together.
struct SecondRights {
  var read = true
  var write = true
  var execute = true
  /// Whether a write needs no dirty bit set in the second dimension any more.
  var dirty = true
}
