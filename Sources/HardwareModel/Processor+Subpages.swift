import HostMemory
public import PagingUnits

/// Writes that sub-page write permissions decide about (SDM volume 3C, "Sub-Page Write
/// Permissions").
extension Processor {
  /// Translates a linear address for one access of several bytes of one page, of which only
  /// sub-page write permissions want to know: without it, an access is of one byte.
  ///
  /// `byteCount` is at least one; bytes beyond the page are another access's.
  public mutating func translate(
    _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    _ registers: borrowing ControlRegisters, through dimension: SecondDimension, byteCount: UInt64
  ) -> HardwareOutcome {
    precondition(byteCount > 0, "an access touches a byte")
    self.byteCount = byteCount
    defer { self.byteCount = 1 }
    return translate(address, kind, privilege, registers, through: dimension)
  }

  /// Whether sub-pages permit what the extended page tables refuse; an exit stands in `refusal`
  /// where they do not.
  ///
  /// `rights` are those that all entries of the walk give, the last of which is `leaf`.
  mutating func isGranted(
    _ access: SecondAccess, _ eptp: UInt64, _ leaf: UInt64, _ depth: Int, _ rights: UInt64
  ) -> Bool {
    guard subpageControls.isEnabled else { return refuse(access.violation(rights)) }
    let failure = subpageControls.entryFailure(through: .ept(eptp: eptp), features)
    precondition(failure == nil, "VM entry refuses these controls of sub-page write permissions")
    let address = GuestPhysical(access.address)
    let use: SubpageRequest.Use =
      access.purpose == .table ? .table : access.linear == nil ? .physical : .linear
    let request = SubpageRequest(
      address, byteCount: byteCount, access.kind, use, leaf: leaf, level: Level(depth),
      rights: rights)
    let root = SecondDimension.ept(eptp: eptp).tag
    if features.keepsWalks, SubpagePermission.isEligible(request),
      let vector = vectors.vector(of: access.address, root: root)
    {
      if SubpagePermission.permits(vector, access.address, byteCount) {
        counters.walkHits &+= 1
        return true
      }
      vectors.forget(access.address)
    }
    var references: UInt64 = 0
    let ruling = SubpagePermission.ruling(
      on: request, pointer: subpageControls.pointer, physicalBits: features.physicalBits
    ) { [memory] place in
      references += 1
      return memory.entryOrOnes(at: place)
    }
    counters.subpageReferences &+= references
    switch ruling {
    case .granted(let vector):
      if features.keepsWalks { vectors.keep(vector, of: access.address, root: root) }
      return true
    case .notEligible, .refused: return refuse(access.violation(rights))
    case .miss: return refuse(access.subpageEvent(1 << 11))
    case .misconfiguration: return refuse(access.subpageEvent(0))
    }
  }

  private mutating func refuse(_ exit: HardwareExit) -> Bool {
    _ = leave(exit)
    return false
  }

  /// Whether a write goes through by what is kept of its page: the eligible leaf, which an earlier
  /// write has made dirty in both dimensions, and the vector.
  func isWritten(_ one: KeptTranslation, _ linear: UInt64, _ access: HardwareAccess) -> Bool {
    guard access.writes, subpageControls.isEnabled, one.rights.contains(.dirty),
      one.second.contains(.dirty),
      mode.usable(access, one.rights, key: one.protectionKey).contains(.write),
      let vector = vectors.vector(of: one.guestPage, root: one.root)
    else { return false }
    return SubpagePermission.permits(vector, linear, byteCount)
  }
}

extension SecondAccess {
  /// The exit of an SPP-related event, which only a write to a linear address comes to.
  func subpageEvent(_ qualification: UInt64) -> HardwareExit {
    .subpageEvent(
      qualification: qualification, GuestPhysical(address), linear: GuestVirtual(linear ?? 0))
  }
}

extension HardwareExit {
  /// The exit with what it tells of the instruction under way.
  func during(_ instruction: InstructionContext) -> HardwareExit {
    switch self {
    case .eptViolation(let qualification, let address, let linear):
      .eptViolation(
        qualification: qualification | instruction.qualification, address, linear: linear)
    case .subpageEvent(let qualification, let address, let linear):
      .subpageEvent(
        qualification: qualification | instruction.qualification, address, linear: linear)
    case .eptMisconfiguration, .modificationLogFull, .nestedPageFault: self
    }
  }
}
