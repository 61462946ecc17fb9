public import HostMemory
public import PagingUnits

/// A processor as the manuals describe it: it reads tables byte by byte out of host memory, keeps
/// translations, sets accessed and dirty bits, and exits.
///
/// It knows nothing of the MMU: this is the other party. It decodes entries itself, on purpose, so
/// that a mistake in one of the two decoders shows.
public struct Processor: ~Copyable {
  let memory: PhysicalMemory
  /// What it can do.
  public let features: ProcessorFeatures
  /// What it counted.
  public internal(set) var counters = HardwareCounters()
  var kept: TranslationCache
  var walks = WalkCache()
  /// Why the walk under way was refused; it says so by returning, the reason stands here.
  var refusal = HardwareOutcome.generalProtection

  /// A processor that keeps nothing yet.
  public init(memory: PhysicalMemory, features: ProcessorFeatures) {
    precondition(32...52 ~= features.physicalBits, "MAXPHYADDR is 32 to 52 bits")
    precondition(32...52 ~= features.guestPhysicalBits, "MAXPHYADDR is 32 to 52 bits")
    self.memory = memory
    self.features = features
    kept = TranslationCache(sets: features.translationSets)
  }

  // Spelled out, so that other modules destroy a processor without seeing into its caches, which
  // Embedded Swift cannot.
  deinit {}

  /// Sets every count to 0.
  public mutating func resetCounters() { counters = HardwareCounters() }

  /// Translates a linear address for one access.
  ///
  /// * `address`: the linear address of the first byte; an access across a page boundary is two.
  /// * `privilege`: on whose behalf; the registers' CPL is not consulted.
  /// * `dimension`: what stands behind guest-physical addresses.
  public mutating func translate(
    _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    _ registers: borrowing ControlRegisters, through dimension: SecondDimension
  ) -> HardwareOutcome {
    let mode = GuestMode(registers)
    if mode.isNonCanonical(address.raw) { return .generalProtection }
    let linear = mode.levels >= 4 ? address.raw : address.raw & 0xFFFF_FFFF
    let access = HardwareAccess(
      kind: kind, privilege: privilege, alignmentCheck: registers.ac, pkru: registers.pkru)
    let pcid = Self.currentSpace(registers)
    if features.translationSets > 0,
      let place = kept.find(linear, root: dimension.tag, pcid: pcid, digest: mode.digest)
    {
      if let hit = use(kept[place], linear, access, mode) {
        counters.hits &+= 1
        return .translated(hit)
      }
      // A kept translation that refuses is forgotten and the tables are asked again.
      kept.forget(place)
    }
    counters.misses &+= 1
    let walk = Walk(
      linear: linear, access: access, mode: mode, root: dimension.tag, pcid: pcid,
      dimension: dimension)
    var found = KeptTranslation()
    while true {
      switch attempt(walk, registers, &found) {
      case .changed: continue
      case .refused: return refusal
      case .found:
        let usable = usable(found, access, mode)
        if features.translationSets > 0 { kept.keep(found) }
        return .translated(Self.translation(found, linear, usable))
      }
    }
  }

  /// Translates a guest-physical address for one access that bypasses the guest's own paging.
  public mutating func translate(
    guestPhysical address: GuestPhysical, _ kind: AccessKind, through dimension: SecondDimension
  ) -> HardwareOutcome {
    var found = SecondFound()
    guard second(address.raw, kind, .final, linear: nil, dimension, &found) else { return refusal }
    var usable: Translation.Usable = []
    if found.rights.read { usable.insert(.read) }
    if found.rights.write && found.rights.dirty { usable.insert(.write) }
    if found.rights.execute { usable.insert(.fetch) }
    return .translated(
      Translation(
        hostPhysical: HostPhysical(found.host), guestPhysical: address, level: found.level,
        usable: usable, isGlobal: false))
  }

  /// The current PCID; 0 without CR4.PCIDE.
  private static func currentSpace(_ registers: borrowing ControlRegisters) -> UInt16 {
    registers.cr4 & 1 << 17 != 0 ? UInt16(truncatingIfNeeded: registers.cr3 & 0xFFF) : 0
  }

  /// What a kept translation gives this access; `nil` when it does not permit it.
  private func use(
    _ one: KeptTranslation, _ linear: UInt64, _ access: HardwareAccess, _ mode: GuestMode
  ) -> Translation? {
    let usable = usable(one, access, mode)
    return usable.contains(access.need) ? Self.translation(one, linear, usable) : nil
  }

  @inline(__always) private static func translation(
    _ one: KeptTranslation, _ linear: UInt64, _ usable: Translation.Usable
  ) -> Translation {
    let offset = linear & (one.level.byteCount &- 1)
    return Translation(
      hostPhysical: HostPhysical(one.hostPage | offset),
      guestPhysical: GuestPhysical(one.guestPage | offset), level: one.level, usable: usable,
      isGlobal: one.rights.global)
  }

  /// What the same privilege may do without another walk.
  @inline(__always) private func usable(
    _ one: KeptTranslation, _ access: HardwareAccess, _ mode: GuestMode
  ) -> Translation.Usable {
    var usable = mode.usable(access, one.rights)
    if !one.second.read { usable.remove(.read) }
    if !(one.second.write && one.second.dirty && one.rights.dirty) { usable.remove(.write) }
    if !one.second.execute { usable.remove(.fetch) }
    return usable
  }
}
