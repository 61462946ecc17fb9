public import PagingUnits

/// How a processor is made to forget.
extension Processor {
  /// Forgets what an instruction or a hypervisor says; the registers tell the paging mode and the
  /// current PCID.
  public mutating func invalidate(
    _ what: Invalidation, _ registers: borrowing ControlRegisters
  ) {
    let mode = GuestMode(registers, features, encryptionMask)
    let identifier = identifier
    let current = mode.pcid(registers)
    switch what {
    case .everything:
      forget { _, _, _ in true }
      walks.forgetPhysicals(of: nil)
      vectors.forget(root: nil)
    case .root(let dimension):
      let tag = dimension.tag
      // A linear translation without a second dimension bears no root (SDM: a linear mapping).
      guard tag != 0 else { return }
      forget { root, _, _ in root == tag }
      walks.forgetPhysicals(of: tag)
      vectors.forget(root: tag)
    case .allRoots:
      forget { root, _, _ in root != 0 }
      walks.forgetPhysicals(of: nil)
      vectors.forget(root: nil)
    case .allLinear: forget(identifier) { _, _ in true }
    case .currentSpace: forget(identifier) { pcid, isGlobal in pcid == current && !isGlobal }
    case .space(let pcid): forget(identifier) { $0 == pcid && !$1 }
    case .allSpaces: forget(identifier) { !$1 }
    case .linearAddress(let address):
      forget(mode.linear(address.raw), identifier) { $0 == current || $1 }
    case .linearAddressIn(let pcid, let address):
      forget(mode.linear(address.raw), identifier) { $0 == pcid && !$1 }
    case .linearAddressOf(let identifier, let address):
      forget(address.raw, identifier) { _, _ in true }
    case .identifier(let identifier): forget(identifier) { _, _ in true }
    case .identifierExceptGlobal(let identifier): forget(identifier) { !$1 }
    case .allIdentifiers:
      forget { _, space, _ in TranslationTag.identifier(of: space) != 0 }
    }
  }

  /// Forgets translations and upper entries by root, space and whether they are global, which an
  /// upper entry never is.
  private mutating func forget(
    where isDoomed: (_ root: UInt64, _ space: UInt64, _ isGlobal: Bool) -> Bool
  ) {
    kept.forget { isDoomed($0.root, $0.space, $0.rights.contains(.global)) }
    walks.forgetUppers { isDoomed($0.root, $0.space, false) }
  }

  /// Forgets translations and upper entries of one VPID or ASID by PCID and whether they are
  /// global.
  private mutating func forget(
    _ identifier: UInt16, where isDoomed: (_ pcid: UInt16, _ isGlobal: Bool) -> Bool
  ) {
    forget { _, space, isGlobal in
      TranslationTag.identifier(of: space) == identifier
        && isDoomed(TranslationTag.pcid(of: space), isGlobal)
    }
  }

  /// Forgets one address of one VPID or ASID.
  ///
  /// A large page of the guest's may be kept by parts, all of which go with any of its addresses;
  /// and of the upper entries those of every address go (SDM volume 3A, "Operations that Invalidate
  /// TLBs and Paging-Structure Caches", on INVLPG).
  private mutating func forget(
    _ address: UInt64, _ identifier: UInt16,
    where isDoomed: (_ pcid: UInt16, _ isGlobal: Bool) -> Bool
  ) {
    kept.forget {
      $0.identifier == identifier && $0.isPart(ofPageAround: address)
        && isDoomed($0.pcid, $0.rights.contains(.global))
    }
    walks.forgetUppers {
      TranslationTag.identifier(of: $0.space) == identifier
        && isDoomed(TranslationTag.pcid(of: $0.space), false)
    }
  }

  /// Gives the translation in a place up for no reason, as any processor may at any time.
  public mutating func evict(_ place: Int) { kept.forget(place) }
}
