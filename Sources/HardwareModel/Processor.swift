public import HostMemory
public import PagingUnits

/// A processor as the manuals describe it: it reads tables byte by byte out of host memory, keeps
/// translations, sets accessed and dirty bits, and exits.
///
/// It knows nothing of the MMU: this is the other party. It decodes entries itself, on purpose, so
/// that a mistake in one of the two decoders shows.
///
/// Where the manuals leave a choice, this processor:
///
/// - sets accessed and dirty bits only once the whole access is permitted, by the guest's tables
///   and by the second dimension, from the top down;
/// - asks the tables again, from the top, before it faults by something that it kept;
/// - reads all ones where a guest's tables point outside memory, as an open bus does, and traps for
///   nothing that a guest can write;
/// - reads all ones where a pointer to a table says that it is encrypted and it is not, or the
///   other way round, and gives an address outside memory where a leaf does.
public struct Processor: ~Copyable {
  let memory: PhysicalMemory
  /// How memory is encrypted; `nil` where it is not, and then no bit says so.
  private let encryption: MemoryEncryption?
  /// The bit of an address that says that memory is encrypted; 0 where none does.
  let encryptionMask: UInt64
  /// What it can do.
  public let features: ProcessorFeatures
  /// The VPID or ASID that the guest runs under; a hypervisor sets it before it enters the guest.
  public var identifier: UInt16 = 0
  /// What the control structure says of sub-page write permissions; a hypervisor sets it before it
  /// enters the guest, and VM entry must accept it.
  public var subpageControls = SubpageControls()
  /// Where pages are noted that become dirty in extended page tables; `nil` while the control
  /// "enable PML" is 0.
  public var modificationLog: ModificationLog?
  /// What of the instruction under way an exit tells; whoever executes it sets and clears it.
  public var instruction = InstructionContext()
  /// What it counted.
  public internal(set) var counters = HardwareCounters()
  /// The rules of the guest's control registers, as they last were.
  var mode: GuestMode
  /// The second dimension, as it last was.
  var secondMode: SecondMode
  var kept: TranslationCache
  var walks = WalkCache()
  var vectors = SubpageCache()
  /// How many bytes the access under way touches.
  var byteCount: UInt64 = 1
  /// Why the walk under way was refused; it says so by returning, the reason stands here.
  var refusal = HardwareOutcome.generalProtection

  /// A processor that keeps nothing yet.
  ///
  /// * `encryption`: how the host encrypts memory, if it does (APM volume 2, "Secure Memory
  ///   Encryption"). Then one bit of CR3 without a second dimension, of nCR3, and of the entries
  ///   that they lead to is no part of an address and not reserved.
  public init(
    memory: PhysicalMemory, features: ProcessorFeatures, encryption: MemoryEncryption? = nil
  ) {
    precondition(32...52 ~= features.physicalBits, "MAXPHYADDR is 32 to 52 bits")
    precondition(32...52 ~= features.guestPhysicalBits, "MAXPHYADDR is 32 to 52 bits")
    precondition(
      32...40 ~= features.largePageBits ?? 40, "4 MiB pages have 32 to 40 bits of address")
    precondition(features.largestSecondPage <= .page1G, "no page is larger than 1 GiB")
    self.memory = memory
    self.features = features
    self.encryption = encryption
    encryptionMask = encryption?.mask ?? 0
    mode = GuestMode(ControlRegisters(), features, encryptionMask)
    secondMode = SecondMode(.none, features)
    kept = TranslationCache(sets: features.translationSets)
  }

  // Spelled out, so that other modules destroy a processor without seeing into its caches, which
  // Embedded Swift cannot.
  deinit {}

  /// Sets every count to 0.
  public mutating func resetCounters() { counters = HardwareCounters() }

  /// Translates a linear address for one access.
  ///
  /// - Parameters:
  ///   - address: the linear address of the first byte; an access across a page boundary is two.
  ///   - kind: what the access does; a read-modify-write is a write.
  ///   - privilege: on whose behalf; the registers' CPL is not consulted.
  ///   - registers: what decides the paging mode, its rules and the root of the guest's tables.
  ///   - dimension: what stands behind guest-physical addresses.
  /// - Returns: where the access goes, or what stops it.
  public mutating func translate(
    _ address: GuestVirtual, _ kind: AccessKind, _ privilege: Privilege,
    _ registers: borrowing ControlRegisters, through dimension: SecondDimension
  ) -> HardwareOutcome {
    if !mode.isCurrent(registers) { mode = GuestMode(registers, features, encryptionMask) }
    if mode.isNonCanonical(address.raw) { return .generalProtection }
    let linear = mode.linear(address.raw)
    let access = HardwareAccess(
      kind: kind, privilege: privilege, alignmentCheck: registers.ac, pkru: registers.pkru)
    let tag = TranslationTag(
      root: dimension.tag, identifier: identifier, digest: mode.digest,
      pcid: mode.pcid(registers))
    if features.translationSets > 0, let place = kept.find(linear, tag) {
      let one = kept[place]
      let usable = usable(one, access)
      if usable.contains(access.need) {
        counters.hits &+= 1
        return .translated(Self.translation(one, linear, usable))
      }
      if one.second.contains(.subpages), isWritten(one, linear, access) {
        counters.hits &+= 1
        return .translated(Self.translation(one, linear, usable))
      }
      // A kept translation that refuses is forgotten and the tables are asked again.
      kept.forget(place)
    }
    counters.misses &+= 1
    var found = KeptTranslation()
    if !goStraight(linear, access, tag, root: registers.cr3, dimension, &found) {
      let walk = Walk(linear: linear, access: access, tag: tag, dimension)
      guard goCarefully(walk, registers, &found) else { return refusal }
    }
    if features.translationSets > 0 { kept.keep(found) }
    return .translated(Self.translation(found, linear, usable(found, access)))
  }

  /// Where an access to host memory goes whose address has the encryption bit or lacks it, rightly
  /// or not; where none of its bits says so, right there.
  @inline(__always) func place(of address: UInt64) -> UInt64 {
    encryptionMask == 0 ? address : encryption?.place(of: address) ?? address
  }

  /// What an entry to a guest of PAE paging without a second dimension loads into a PDPTE register.
  ///
  /// * `index`: which of the four.
  /// * `cr3`: the register with which the guest is entered, of which 32 bits are used.
  public func directoryPointer(_ index: Int, under cr3: UInt64) -> UInt64 {
    precondition(0 <= index && index < 4, "there are four registers")
    let table = cr3 & 0xFFFF_FFE0
    return memory.entryOrOnes(
      at: HostPhysical(place(of: table + UInt64(truncatingIfNeeded: index) * 8)))
  }

  /// Walks until nothing changes behind the walk's back, and nothing kept has a part in a refusal,
  /// which then stands in `refusal`.
  private mutating func goCarefully(
    _ walk: Walk, _ registers: borrowing ControlRegisters, _ found: inout KeptTranslation
  ) -> Bool {
    var start = features.keepsWalks ? WalkStart.lowest : .top
    while true {
      switch attempt(walk, registers, &start, &found) {
      case .changed: continue
      case .found: return true
      case .refused:
        // A page fault forgets what was kept for the address, tables included (SDM volume 3A,
        // "Operations that Invalidate TLBs and Paging-Structure Caches").
        if start == .below {
          walks.forget(walk.linear)
          start = .top
          continue
        }
        while features.translationSets > 0, let place = kept.find(walk.linear, walk.tag) {
          kept.forget(place)
        }
        return false
      }
    }
  }

  /// Translates a guest-physical address for one access that bypasses the guest's own paging.
  ///
  /// - Parameters:
  ///   - address: the guest-physical address of the first byte.
  ///   - kind: what the access does.
  ///   - dimension: what stands behind guest-physical addresses.
  /// - Returns: where the access goes, or the exit that stops it.
  public mutating func translate(
    guestPhysical address: GuestPhysical, _ kind: AccessKind, through dimension: SecondDimension
  ) -> HardwareOutcome {
    var found = SecondFound()
    guard second(address.raw, kind, .final, linear: nil, dimension, &found) else { return refusal }
    // The bits of rights stand as they stand in what is usable.
    var usable = Translation.Usable(rawValue: found.rights.rawValue & 0b101)
    if found.rights.isSuperset(of: [.write, .dirty]) { usable.insert(.write) }
    return .translated(
      Translation(
        hostPhysical: HostPhysical(found.host), guestPhysical: address, level: found.level,
        usable: usable, isGlobal: false))
  }

  @inline(__always) private static func translation(
    _ one: KeptTranslation, _ linear: UInt64, _ usable: Translation.Usable
  ) -> Translation {
    let offset = linear & (one.level.byteCount &- 1)
    return Translation(
      hostPhysical: HostPhysical(one.hostPage | offset),
      guestPhysical: GuestPhysical(one.guestPage | offset), level: one.level, usable: usable,
      isGlobal: one.rights.contains(.global))
  }

  /// What the same privilege may do without another walk.
  @inline(__always)
  private func usable(_ one: KeptTranslation, _ access: HardwareAccess) -> Translation.Usable {
    mode.usable(access, one.rights, key: one.protectionKey).intersection(one.ready)
  }
}
