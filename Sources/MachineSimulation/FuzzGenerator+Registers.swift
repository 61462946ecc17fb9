import PagingUnits

/// Modes, registers, and what processors forget; entries that change under their feet.
extension FuzzGenerator {
  private var features: ScenarioFeatures { swarm.machine.features }

  /// Queues tables and registers of a mode.
  mutating func switchMode(_ processor: Int) {
    let shape = chance.pick(swarm.shapes)
    let known = picture.roots.things.filter { $0.shape == shape }
    let root = known.isEmpty || chance.chance(1, in: 3) ? buildTables(shape) : chance.pick(known)
    use(root, on: processor)
  }

  /// Queues the registers that make a processor go by a root.
  mutating func use(_ root: GuestPicture.Table, on processor: Int) {
    let now = picture.processors[processor]
    if now.shape == root.shape && chance.chance(1, in: 2) {
      queue(.loadCR3(processor: processor, value: root.place, keepsTranslations: false))
      return
    }
    var change = RegisterChange(processor: processor)
    change.cr0 = cr0(root.shape)
    change.cr3 = root.place
    change.cr4 = cr4(root.shape)
    change.efer = efer(root.shape)
    if chance.chance(1, in: 2) { change.privilegeLevel = chance.chance(1, in: 2) ? 3 : 0 }
    if chance.chance(1, in: 4) { change.alignmentCheck = chance.chance(1, in: 2) }
    if swarm.hasKeys { change.pkru = pkru() }
    if swarm.spaces.count > 1 { change.space = chance.pick(swarm.spaces) }
    queue(.registers(change))
  }

  private mutating func cr0(_ shape: PagingShape) -> UInt64 {
    let writeProtects: UInt64 = chance.chance(3, in: 4) ? 1 << 16 : 0
    if shape == .none { return chance.chance(1, in: 2) ? 0x10 : 0x11 | writeProtects }
    return 1 << 31 | 0x33 | writeProtects
  }

  private mutating func cr4(_ shape: PagingShape) -> UInt64 {
    var value: UInt64 = 0
    switch shape {
    case .none: value = chance.chance(1, in: 2) ? 0 : 0x30
    case .narrow: value = 0
    case .narrowLarge: value = 0x10
    case .extended: value = 0x20
    case .fourLevels: value = 0x20
    case .fiveLevels: value = 0x1020
    }
    if swarm.hasGlobal && chance.chance(3, in: 4) { value |= 0x80 }
    if features.contains(.supervisorExecutionPrevention) && chance.chance(1, in: 3) {
      value |= 1 << 20
    }
    if features.contains(.supervisorAccessPrevention) && chance.chance(1, in: 3) {
      value |= 1 << 21
    }
    if swarm.hasKeys && chance.chance(3, in: 4) { value |= 1 << 22 }
    if shape.isLong && chance.chance(1, in: 3) { value |= 1 << 17 }
    return value
  }

  private mutating func efer(_ shape: PagingShape) -> UInt64 {
    (shape.isLong ? 0x500 : 0)
      | (features.contains(.noExecute) && (swarm.hasNoExecute || chance.chance(1, in: 2))
        ? 0x800 : 0)
  }

  private mutating func pkru() -> UInt64 {
    chance.chance(1, in: 3) ? 0 : chance.next() & chance.next() & 0xFFFF_FFFF
  }

  /// A change of one register.
  mutating func registerChange(_ processor: Int) -> Operation {
    let now = picture.processors[processor]
    var change = RegisterChange(processor: processor)
    switch chance.below(12) {
    case 0, 1: change.cr0 = now.cr0 ^ 1 << 16
    case 2:
      let bits: [UInt64] = [4, 5, 7, 7, 17, 20, 21, 22]
      change.cr4 = now.cr4 ^ 1 << chance.pick(bits)
    case 3: change.efer = now.efer & ~0x400 ^ 0x800
    case 4, 5: change.privilegeLevel = chance.chance(1, in: 2) ? 3 : 0
    case 6: change.alignmentCheck = chance.chance(1, in: 2)
    case 7: change.pkru = pkru()
    case 8: change.space = chance.pick(swarm.spaces)
    case 9: change.cr0 = now.cr0 ^ 1 << 31
    case 10: change.cr4 = now.cr4 ^ 1 << chance.below(UInt64(24))
    default: change.pat = chance.chance(1, in: 2) ? 0x0007_0406_0007_0406 : chance.next()
    }
    return .registers(change)
  }

  /// MOV to CR3.
  mutating func pointerLoad(_ processor: Int) -> Operation {
    let now = picture.processors[processor]
    var value = now.cr3
    switch chance.below(4) {
    case 0: break
    case 1: value = value & ~0xFFF | chance.below(UInt64(8))
    case 2:
      let fitting = picture.roots.things.filter { $0.shape == now.shape }
      if !fitting.isEmpty { value = chance.pick(fitting).place | value & 7 }
    default: value = physical() & ~0xFFF
    }
    let keeps = now.cr4 >> 17 & 1 == 1 && chance.chance(1, in: 2)
    return .loadCR3(processor: processor, value: value, keepsTranslations: keeps)
  }

  /// INVPCID.
  mutating func contextInvalidation(_ processor: Int) -> Operation {
    let pcid: UInt16
    if picture.processors[processor].cr4 >> 17 & 1 == 1 {
      pcid = UInt16(chance.below(UInt64(8)))
    } else {
      pcid = chance.chance(1, in: 8) ? 1 : 0
    }
    return .invalidateContext(
      processor: processor, type: chance.below(4), pcid: pcid, GuestVirtual(linear()))
  }

  // MARK: Entries that change

  /// Queues an entry that changes, with an access before, the invalidation that it needs or not,
  /// and an access after.
  mutating func changeEntry() {
    guard let (entry, processor) = changedEntry() else { return }
    if chance.chance(1, in: 3) {
      // The guest writes it itself.
      var step = AccessStep(.write, at: .physical(GuestPhysical(entry.place)))
      step.processor = processor
      step.byteCount = Int(entry.shape.entryBytes)
      step.value = entry.value
      picture.note(entry)
      queue(.access(step))
    } else {
      writeEntry(entry)
    }
    invalidateOrNot(entry, on: processor)
    for _ in 0..<(1 + chance.below(2)) { queue(.access(access(processor, near(entry)))) }
  }

  /// An entry and what it changes to, with an access there before or not, and who changes it;
  /// without any entry, queues new tables.
  mutating func changedEntry() -> (GuestPicture.Entry, processor: Int)? {
    guard var entry = picture.entries.pick(&chance) else {
      _ = buildTables(chance.pick(swarm.shapes))
      return nil
    }
    let processor = processor()
    if chance.chance(1, in: 2) { queue(.access(access(processor, near(entry)))) }
    entry.value = changed(entry)
    return (entry, processor)
  }

  /// Queues the invalidation that a changed entry needs, another, or none.
  mutating func invalidateOrNot(_ entry: GuestPicture.Entry, on processor: Int) {
    if chance.chance(swarm.invalidationPart, in: 16) {
      invalidate(entry, on: processor)
    } else if chance.chance(1, in: 4) {
      queue(.invalidatePage(processor: processor, GuestVirtual(linear())))
    }
  }

  mutating func near(_ entry: GuestPicture.Entry) -> AccessStep.Address {
    // Below an upper entry most linear addresses lead nowhere: the first pages do.
    let reach = min(UInt64(1) << entry.shape.shift(entry.depth), 0x8000)
    return .virtual(GuestVirtual(entry.linear &+ chance.below(reach) & ~7))
  }

  mutating func changed(_ entry: GuestPicture.Entry) -> UInt64 {
    switch chance.below(8) {
    case 0: return maker.spoiled(entry.value, entry.shape, &chance)
    case 1: return picture.entries.pick(&chance)?.value ?? 0
    case 2: return 0
    case 3: return entry.value & ~1
    case 4: return entry.value | 1
    case 5:
      // A right, given or taken.
      let bits: [UInt64] = [1, 1, 2, 5, 6, 8]
      return entry.value ^ 1 << chance.pick(bits)
    case 6 where entry.depth > 1:
      let place = picture.tables.pick(&chance)?.place ?? pagePlace()
      return maker.table(at: place & ~0xFFF, entry.shape, entry.depth, &chance)
    default:
      let isPage = entry.depth == 1 || entry.value & 0x80 != 0
      return isPage
        ? maker.page(at: pagePlace(), entry.shape, entry.depth, &chance)
        : maker.table(
          at: picture.tables.pick(&chance)?.place ?? pagePlace(), entry.shape, entry.depth,
          &chance)
    }
  }

  /// Queues what makes a processor forget an entry.
  mutating func invalidate(_ entry: GuestPicture.Entry, on processor: Int) {
    let now = picture.processors[processor]
    switch chance.below(6) {
    case 0:
      queue(.loadCR3(processor: processor, value: now.cr3, keepsTranslations: false))
    case 1:
      let type = chance.below(4)
      queue(
        .invalidateContext(
          processor: processor, type: type,
          pcid: now.cr4 >> 17 & 1 == 1 ? UInt16(now.cr3 & 0xFFF) : 0, GuestVirtual(entry.linear)))
    case 2: queue(.evict(processor: processor))
    default: queue(.invalidatePage(processor: processor, GuestVirtual(entry.linear)))
    }
  }
}
