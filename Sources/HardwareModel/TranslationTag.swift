/// What tells the translations of one guest, table and address space from another's.
struct TranslationTag {
  /// The second dimension's tag.
  let root: UInt64
  /// The VPID or ASID, the paging mode and the PCID, above each other; the PCID lowest, because
  /// global translations go without it.
  let space: UInt64

  @inline(__always)
  init(root: UInt64, identifier: UInt16, digest: UInt16, pcid: UInt16) {
    self.root = root
    space = UInt64(identifier) &<< 32 | UInt64(digest) &<< 16 | UInt64(pcid)
  }

  /// The bits of a space that are its PCID.
  static let pcidBits: UInt64 = 0xFFFF

  static func pcid(of space: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: space) }
  static func identifier(of space: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: space &>> 32) }
}
