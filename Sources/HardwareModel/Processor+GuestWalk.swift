import HostMemory
import PagingUnits

/// The walk of the guest's tables in 64-bit modes (SDM volume 3A, "4-Level Paging and 5-Level
/// Paging").
extension Processor {
  /// One walk from the top, or from the lowest table that is kept.
  mutating func attempt(
    _ walk: Walk, _ registers: borrowing ControlRegisters, _ start: inout WalkStart,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    if mode.levels < 4 { return attemptShort(walk, registers, &result) }
    var depth = mode.levels
    var root = registers.cr3 & EntryBits.address
    var gathered = GatheredBits()
    if start != .top {
      start = .lowest
      if let kept = walks.lowestTable(walk.linear, walk.tag) {
        counters.walkHits &+= 1
        start = .below
        depth = kept.depth
        root = kept.upper.table
        gathered = kept.upper.gathered
      }
    }
    let top = depth
    let above = gathered
    var table = root
    var trail = WalkTrail()
    var reserved = reservedAddress(walk)
    if !mode.noExecute { reserved |= EntryBits.noExecute }
    var entry: UInt64
    while true {
      let place = Self.place(in: table, depth, walk.linear)
      guard let host = hostPlace(of: place, walk) else { return .refused }
      entry = memory.entryOrOnes(at: HostPhysical(host))
      trail.places[depth] = host
      trail.entries[depth] = entry
      if entry & EntryBits.present == 0 { return refuse(walk, present: 0) }
      let isLeaf = depth == 1 || (depth <= 3 && entry & EntryBits.pageSize != 0)
      if entry & (reserved | shape(depth, isLeaf)) != 0 {
        return refuse(walk, present: 1 | 1 << 3)
      }
      gathered.gather(entry)
      if isLeaf { break }
      table = entry & EntryBits.address
      depth &-= 1
    }
    let isDirty = entry & EntryBits.dirty != 0
    let key = UInt8(truncatingIfNeeded: entry >> 59 & 15)
    guard let rights = rights(gathered, entry, key: key, walk) else { return .refused }
    let level = Level(depth)
    let page = entry & EntryBits.address & ~(level.byteCount &- 1)
    guard
      finish(walk, guestPage: page, level, rights, key: key, &result) == .found
    else { return .refused }
    if !gathered.accessed || (walk.writes && !isDirty) {
      let step = mark(walk, trail, from: top, root, to: depth)
      if step != .found { return step }
    }
    if features.keepsWalks { remember(walk.linear, walk.tag, trail, above, from: top, to: depth) }
    return .found
  }

  /// The bits of an address that no entry of the guest's may have.
  ///
  /// Without a second dimension the tables are the host's, and one bit tells of encryption.
  @inline(__always) func reservedAddress(_ walk: Walk) -> UInt64 {
    let beyond = EntryBits.beyond(features.guestPhysicalBits)
    if case .none = walk.dimension { return beyond & ~encryptionMask }
    return beyond
  }

  /// The address of an 8-byte entry.
  @inline(__always)
  static func place(in table: UInt64, _ depth: Int, _ address: UInt64) -> UInt64 {
    table | (address &>> (9 &* UInt64(truncatingIfNeeded: depth))) & 0xFF8
  }

  /// The host's address of an entry of the guest's tables; `nil` for an exit.
  @inline(__always)
  mutating func hostPlace(of place: UInt64, _ walk: Walk) -> UInt64? {
    if case .none = walk.dimension {
      counters.guestReferences &+= 1
      return self.place(of: place)
    }
    var found = SecondFound()
    guard second(place, .read, .table, linear: walk.linear, walk.dimension, &found) else {
      return nil
    }
    counters.guestReferences &+= 1
    return found.host
  }

  /// Says why the guest gets a page fault; `present` holds the bits that tell what is wrong.
  mutating func refuse(_ walk: Walk, present: UInt32) -> WalkStep {
    refusal = .pageFault(errorCode: present | mode.errorCode(walk.access))
    return .refused
  }

  /// What the entries of a walk grant, as they will be once marked; `nil` for a fault, which
  /// stands in `refusal`.
  mutating func rights(
    _ gathered: GatheredBits, _ leaf: UInt64, key: UInt8, _ walk: Walk
  ) -> GuestRights? {
    var rights = gathered.rights
    if leaf & EntryBits.dirty != 0 || walk.writes { rights.insert(.dirty) }
    if leaf & EntryBits.global != 0 && mode.globalPages { rights.insert(.global) }
    if mode.usable(walk.access, rights, key: key).contains(walk.access.need) { return rights }
    refusal = .pageFault(errorCode: mode.refusal(walk.access, rights, key: key))
    return nil
  }

  /// The bits that an entry's place and kind make reserved, in 4- and 5-level paging.
  ///
  /// AMD's manual also wants bit 8 of a level-3 entry that points to a table clear; no processor
  /// is known to fault for it, and KVM does not either.
  @inline(__always) private func shape(_ depth: Int, _ isLeaf: Bool) -> UInt64 {
    if depth >= 4 {
      return features.vendor == .amd ? EntryBits.pageSize | EntryBits.global : EntryBits.pageSize
    }
    guard isLeaf && depth > 1 else { return 0 }
    if depth == 2 { return 0x001F_E000 }
    return features.hasGigabytePages ? 0x3FFF_E000 : EntryBits.pageSize
  }

  /// Keeps the tables that a walk went through; `above` is what the entries higher up say.
  mutating func remember(
    _ linear: UInt64, _ tag: TranslationTag, _ trail: WalkTrail, _ above: GatheredBits,
    from top: Int, to leaf: Int
  ) {
    var gathered = above
    var depth = top
    while depth > leaf {
      let entry = trail.entries[depth]
      gathered.gather(entry)
      walks.keep(linear, depth: depth - 1, tag, table: entry & EntryBits.address, gathered)
      depth -= 1
    }
  }

  /// Takes the page through the second dimension.
  ///
  /// `guestPage` is the first guest-physical byte of the page around the address, `guestLevel` its
  /// size as far as translations are kept, which is half of a 4 MiB page's.
  mutating func finish(
    _ walk: Walk, guestPage: UInt64, _ guestLevel: Level, _ rights: GuestRights, key: UInt8,
    _ result: inout KeptTranslation
  ) -> WalkStep {
    let address = guestPage | walk.linear & (guestLevel.byteCount &- 1)
    var found = SecondFound()
    guard
      second(address, walk.access.kind, .final, linear: walk.linear, walk.dimension, &found)
    else { return .refused }
    result = KeptTranslation(
      linear: walk.linear, walk.tag, guest: address & ~encryptionMask, found, guestLevel, rights,
      key: key)
    if mode.levels == 2 && guestLevel == .page2M { result.guestShift = 22 }
    return .found
  }
}
