public import PagingUnits

/// What an entry of a guest's table says, decoded.
public enum EntryMeaning: Hashable, Sendable {
  /// Not present; the other bits are the guest's own.
  case absent
  /// Present with reserved bits set, or an EPT misconfiguration.
  case malformed
  /// A table one level further down, at this frame.
  case table(GuestFrame, AccessRights)
  /// A page that starts at this address.
  case page(GuestPhysical, AccessRights)
}

extension WalkRules {
  // `@inlinable`: whoever brings a table up to date asks 512 times, always at level 1; called, each
  // answer also copies the rules.
  /// What `word` says at `level`; its rights are its own, not those of the entries above it.
  ///
  /// - Parameters:
  ///   - word: the entry's bits.
  ///   - level: where it stands; a PDPTE register of PAE paging stands at level 3.
  /// - Returns: the case it falls into.
  @inlinable public func meaning(of word: UInt64, at level: Level) -> EntryMeaning {
    let depth = Int(level.depth)
    guard word & format.presentMask != 0 else { return .absent }
    if hasPDPTERegisters && depth == 3 {
      guard word & reserved.pdpteMask == 0 else { return .malformed }
      return .table(GuestFrame((word & format.frameMask) >> 12), .all)
    }
    guard !reserved.isViolated(by: word, at: depth) else { return .malformed }
    let rights = format.rights(format.contribution(of: word))
    if depth == 1 || word & format.pageSizeBit != 0 {
      return .page(GuestPhysical(format.pageAddress(of: word, at: depth)), rights)
    }
    return .table(GuestFrame((word & format.frameMask) >> 12), rights)
  }
}
