public import Mutations
public import PagingUnits

// `@inlinable` in this file: a walk is generic over its memory, which lives in other modules, and
// a generic that crosses a module bare costs five times a specialised one.

extension WalkRules {
  /// Walks a guest's own tables for one access (KVM: `FNAME(walk_addr_generic)`).
  ///
  /// * `address`: the linear address of the access's first byte.
  /// * `kind`: what the access does.
  /// * `privilege`: on whose behalf; CPL in the registers is not consulted.
  /// * `registers`: CR3, the PDPTE registers, PKRU and EFLAGS.AC are read.
  /// * `marking`: whether accessed and dirty bits are set.
  /// * `memory`: where the tables lie.
  /// - Returns: what came of it, with every entry read.
  @inlinable
  public func walk<Memory: GuestTableMemory & ~Copyable>(
    _ address: GuestVirtual, _ kind: AccessKind, by privilege: Privilege,
    _ registers: borrowing ControlRegisters, marking: AccessedDirtyMarking,
    in memory: inout Memory
  ) -> GuestWalk {
    guard accepts(address) else { return GuestWalk(.nonCanonical, WalkPath(rootDepth: 0)) }
    let asked = PageFaultErrorCode(asking: kind, by: privilege)
    let linear = address.raw & (UInt64.max &>> (64 &- addressBits))
    var root = registers.cr3
    var start = WalkPath(rootDepth: rootDepth)
    if hasPDPTERegisters {
      let index = Int(truncatingIfNeeded: linear &>> 30)
      root = registers.pdptes[index]
      let place = GuestPhysical((registers.cr3 & 0xFFFF_FFE0) &+ UInt64(index &* 8))
      if Mutation.pdpteReadOnEachWalk.isActive, case .entry(let word) = memory.entry(at: place) {
        root = word
      }
      start.append(WalkStep(entry: root, address: place, rightsAbove: .all), at: 3)
      guard root & 1 != 0 else { return absentRegister(asked, start) }
    }
    return descend(
      linear, asked, root: root, from: start, pkru: registers.pkru,
      alignmentCheck: registers.ac, marking: marking, in: &memory)
  }

  /// Walks EPT- or NPT-shaped tables that a guest made for its own guest.
  ///
  /// NPT tables are walked as user accesses (APM volume 2, "Nested Page Faults").
  ///
  /// * `address`: the address in the inner guest's physical space.
  /// * `kind`: what the access does.
  /// * `root`: the EPT pointer, or nCR3.
  /// * `marking`: whether accessed and dirty bits are set.
  /// * `memory`: where the tables lie.
  /// - Returns: what came of it, with every entry read.
  @inlinable
  public func walkSecondDimension<Memory: GuestTableMemory & ~Copyable>(
    _ address: GuestPhysical, _ kind: AccessKind, root: UInt64, marking: AccessedDirtyMarking,
    in memory: inout Memory
  ) -> GuestWalk {
    let asked =
      format.family == .ept
      ? PageFaultErrorCode(askingEPT: kind) : PageFaultErrorCode(asking: kind, by: .user)
    var start = WalkPath(rootDepth: rootDepth)
    guard address.raw &>> addressBits == 0 else {
      return GuestWalk(
        .fault(
          WalkFault(code: asked, cause: .absentEntry, level: Level(max(rootDepth, 1)), rights: [])),
        start)
    }
    var top = root
    if hasPDPTERegisters {
      // PDPTEs of a nested table are read on each walk, never from registers.
      let place = GuestPhysical((root & 0xFFFF_FFE0) &+ (address.raw &>> 30) &* 8)
      switch memory.entry(at: place) {
      case .entry(let word): top = word
      case .refused: return GuestWalk(.refused, start)
      case .absent:
        return GuestWalk(
          .fault(WalkFault(code: asked, cause: .absentTable, level: .page1G, rights: [])), start)
      }
      start.append(WalkStep(entry: top, address: place, rightsAbove: .all), at: 3)
      guard top & 1 != 0 else { return absentRegister(asked, start) }
      guard top & reserved.pdpteMask == 0 else {
        return GuestWalk(
          .fault(
            WalkFault(
              code: [asked, .present, .reserved], cause: .reservedBit, level: .page1G,
              rights: .all)), start)
      }
    }
    return descend(
      address.raw, asked, root: top, from: start, pkru: 0, alignmentCheck: false,
      marking: marking, in: &memory)
  }

  /// The end of a walk at a PDPTE that is not present.
  @usableFromInline func absentRegister(_ asked: PageFaultErrorCode, _ path: WalkPath) -> GuestWalk
  {
    fault([], .absentEntry, asked, path, .page1G, [])
  }

  /// The end of a walk at an entry, with the code that the guest is told.
  @usableFromInline func fault(
    _ wrong: PageFaultErrorCode, _ cause: WalkFault.Cause, _ asked: PageFaultErrorCode,
    _ path: WalkPath, _ level: Level, _ rights: AccessRights
  ) -> GuestWalk {
    let reports = reportsFetch || Mutation.fetchAlwaysReported.isActive
    let told = reports ? asked : asked.subtracting(.fetch)
    let code = wrong.union(told).subtracting(.synthetic)
    return GuestWalk(
      .fault(WalkFault(code: code, cause: cause, level: level, rights: rights)), path)
  }

  /// Goes down from `root` to a leaf, asks for permission, and marks the way.
  @inlinable
  func descend<Memory: GuestTableMemory & ~Copyable>(
    _ linear: UInt64, _ asked: PageFaultErrorCode, root: UInt64, from start: WalkPath,
    pkru: UInt32, alignmentCheck: Bool, marking: AccessedDirtyMarking, in memory: inout Memory
  ) -> GuestWalk {
    guard rootDepth > 0 else { return unpaged(linear, asked, in: &memory) }
    let indexMask = (1 as UInt64) &<< format.indexBits &- 1
    var attempts = 0
    restart: while attempts < GuestWalk.restartLimit {
      attempts &+= 1
      var path = start
      var depth = hasPDPTERegisters ? 2 : rootDepth
      var table = root & format.frameMask
      var gathered = UInt64.max
      var accessed = format.accessedBit
      var word: UInt64 = 0

      while true {
        let index = (linear &>> format.shift(at: depth)) & indexMask
        let place = GuestPhysical(table | (index &<< format.entryShift))
        switch format.entryShift == 3 ? memory.entry(at: place) : memory.shortEntry(at: place) {
        case .entry(let read): word = read
        case .absent:
          return fault([], .absentTable, asked, path, Level(depth), format.rights(gathered))
        case .refused: return GuestWalk(.refused, path)
        }
        path.append(
          WalkStep(entry: word, address: place, rightsAbove: format.rights(gathered)), at: depth)
        let mustStop = depth == 1 && !Mutation.walkPastLevel1.isActive
        let isLeaf = mustStop || word & format.pageSizeBit != 0
        let granted = isLeaf ? 0 : format.unaccumulatedRights
        if Mutation.rightsOfLeafOnly.isActive && isLeaf { gathered = .max }
        gathered &= format.contribution(of: word) | granted
        if Mutation.absentEntriesChecked.isActive && reserved.isViolated(by: word, at: depth) {
          return fault(.reserved, .reservedBit, asked, path, Level(depth), [])
        }
        if word & format.presentMask == 0 {
          return fault([], .absentEntry, asked, path, Level(depth), format.rights(gathered))
        }
        if reserved.isViolated(by: word, at: depth) {
          return fault(
            [.present, .reserved], .reservedBit, asked, path, Level(depth),
            format.rights(gathered))
        }
        accessed &= word
        if isLeaf { break }
        table = word & format.frameMask
        depth &-= 1
      }

      let rights = format.rights(gathered)
      let loses = depth > 1 && Mutation.pkeyLostOnSuperpage.isActive
      let refusal = permissions.refusal(
        of: asked, rights: rights, key: loses ? 0 : (word &>> 59) & 15, pkru: pkru,
        alignmentCheck: alignmentCheck)
      if refusal.rawValue != 0 {
        return fault(refusal, .permission, asked, path, Level(depth), rights)
      }
      let offset = linear & (format.byteCount(at: depth) &- 1)
      var address = GuestPhysical(format.pageAddress(of: word, at: depth) | offset)
      switch memory.reach(address, for: asked) {
      case .reached(let reached): address = reached
      case .refused: return GuestWalk(.refused, path)
      }

      let wasAccessed = accessed == format.accessedBit
      let needsDirty =
        asked.rawValue & 0b10 != 0
        && word & format.dirtyBit != format.dirtyBit
      if marking == .update && (!wasAccessed || needsDirty) {
        switch mark(path, leaf: depth, dirty: needsDirty, in: &memory) {
        case .exchanged: word |= format.accessedBit | (needsDirty ? format.dirtyBit : 0)
        case .readOnly: break
        case .mismatch: continue restart
        case .absent: return fault([], .absentTable, asked, path, Level(depth), rights)
        }
      }
      return GuestWalk(
        .mapped(
          GuestMapping(
            address: address, level: Level(depth), byteCount: format.byteCount(at: depth),
            rights: rights, entry: word, wasAccessed: wasAccessed,
            isDirty: word & format.dirtyBit == format.dirtyBit,
            isGlobal: word & format.globalBit != 0)), path)
    }
    return GuestWalk(.contended, start)
  }

  /// Sets accessed bits from the top down to the leaf, and there the dirty bit (KVM:
  /// `FNAME(update_accessed_dirty_bits)`).
  ///
  /// - Returns: what became of the leaf's bits, or the first thing that ends the walk.
  @inlinable
  func mark<Memory: GuestTableMemory & ~Copyable>(
    _ path: WalkPath, leaf: Int, dirty: Bool, in memory: inout Memory
  ) -> EntryExchange {
    var depth = hasPDPTERegisters ? 2 : path.rootDepth
    if Mutation.accessedBitInLeafOnly.isActive { depth = leaf }
    var last = EntryExchange.exchanged
    while depth >= leaf {
      let step = path.steps[depth &- 1]
      var desired = step.entry | format.accessedBit
      if dirty && depth == leaf { desired |= format.dirtyBit }
      if Mutation.dirtyBitNotSet.isActive { desired = step.entry | format.accessedBit }
      last = .exchanged
      if desired != step.entry {
        if format.entryShift == 3 {
          last = memory.exchange(step.entry, for: desired, at: step.address)
        } else {
          last = memory.exchangeShort(
            UInt32(truncatingIfNeeded: step.entry), for: UInt32(truncatingIfNeeded: desired),
            at: step.address)
        }
        if last == .mismatch || last == .absent { return last }
      }
      depth &-= 1
    }
    return last
  }

  /// The end of a walk that had no tables to read: the address stands for itself.
  @inlinable
  func unpaged<Memory: GuestTableMemory & ~Copyable>(
    _ linear: UInt64, _ asked: PageFaultErrorCode, in memory: inout Memory
  ) -> GuestWalk {
    let path = WalkPath(rootDepth: 0)
    switch memory.reach(GuestPhysical(linear), for: asked) {
    case .refused: return GuestWalk(.refused, path)
    case .reached(let address):
      return GuestWalk(
        .mapped(
          GuestMapping(
            address: address, level: .page4K, byteCount: 4096, rights: .all, entry: 0,
            wasAccessed: true, isDirty: true, isGlobal: false)), path)
    }
  }
}
