import PagingUnits

/// Where the fuzzer goes: few places, so that things meet, and the edges of everything.
extension FuzzGenerator {
  /// A guest-physical address.
  mutating func physical() -> UInt64 {
    let top = UInt64(1) << UInt64(swarm.machine.guestPhysicalBits)
    switch chance.below(32) {
    case 0..<20:
      guard let slot = slot() else { return chance.below(UInt64(1 << 22)) }
      return slot.address + offset(in: slot)
    case 20..<25:
      guard let slot = slot() else { return 0 }
      return edge(of: slot)
    case 25..<27: return chance.pick(swarm.anchors) &+ chance.below(UInt64(0x4000)) &- 0x2000
    case 27, 28: return picture.entries.pick(&chance)?.place ?? 0
    case 29: return top &- chance.below(UInt64(0x2000))
    case 30:
      return chance.pick([
        0x1F_FFFC, 0x20_0000, 0x3FFF_FFFC, 0x4000_0000, 0xFFFF_FFFC, 1 << 32, top,
      ])
    default: return chance.next() & (top - 1)
    }
  }

  /// The start of a page of the guest's.
  mutating func pagePlace() -> UInt64 {
    if chance.chance(1, in: 16) { return physical() & ~0xFFF }
    if chance.chance(1, in: 6), let table = picture.tables.pick(&chance) {
      // A page through which a table can be written.
      return table.place & ~0xFFF
    }
    guard let slot = slot() else { return chance.below(UInt64(1 << 10)) << 12 }
    return (slot.address + offset(in: slot)) & ~0xFFF
  }

  private mutating func slot() -> GuestPicture.Slot? {
    picture.slots.isEmpty ? nil : chance.pick(picture.slots)
  }

  private mutating func offset(in slot: GuestPicture.Slot) -> UInt64 {
    let pages = max(slot.byteCount >> 12, 1)
    let page: UInt64
    switch chance.below(8) {
    case 0: page = pages - 1
    case 1: page = chance.below(pages)
    default: page = chance.below(min(pages, swarm.isCrowded ? 6 : 48))
    }
    return page << 12 | offsetInPage()
  }

  /// An offset in a page: any eight bytes, or the last.
  mutating func offsetInPage() -> UInt64 {
    let bits = chance.next()
    if bits & 15 == 0 { return 0xFFF - bits >> 8 & 7 }
    if bits & 15 == 1 { return bits >> 8 & 0xFFF }
    return bits >> 8 & 0xFF8
  }

  private mutating func edge(of slot: GuestPicture.Slot) -> UInt64 {
    switch chance.below(5) {
    case 0: slot.address
    case 1: slot.address &- 1 &- chance.below(UInt64(8))
    case 2: slot.address &+ slot.byteCount &- 1 &- chance.below(UInt64(8))
    case 3: slot.address &+ slot.byteCount
    default: (slot.address &+ slot.byteCount / 2) & ~0x1F_FFFF &- chance.below(UInt64(9))
    }
  }

  /// A linear address.
  mutating func linear() -> UInt64 {
    switch chance.below(32) {
    case 0..<24:
      guard let page = picture.addresses.pick(&chance) else { return physical() }
      return page &+ offsetInPage()
    case 24, 25:
      guard let page = picture.addresses.pick(&chance) else { return physical() }
      // A neighbour: the next page, or far into a large one.
      return page &+ chance.below(UInt64(600)) << 12 &+ offsetInPage()
    case 26: return physical()
    case 27:
      // Where addresses stop being canonical, and the ends of 32 bits.
      let edges: [UInt64] = [
        0x7FFF_FFFF_F000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, 0xFF00_0000_0000_0000,
        0x00FF_FFFF_FFFF_F000, 0x0100_0000_0000_0000, 0xFFFF_F000, 0x1_0000_0000,
        0xFFFF_FFFF_FFFF_F000, 0x0000_0000_0000_0000,
      ]
      return chance.pick(edges) &+ offsetInPage()
    case 28, 29:
      guard let entry = picture.entries.pick(&chance) else { return 0 }
      return entry.linear &+ chance.below(1 << entry.shape.shift(entry.depth))
    case 30:
      guard let entry = picture.entries.pick(&chance) else { return 0 }
      return entry.place
    default: return chance.next()
    }
  }

  // MARK: Accesses

  /// An access through the guest's tables.
  mutating func virtualAccess(_ processor: Int) -> AccessStep {
    access(processor, .virtual(GuestVirtual(linear())))
  }

  /// An access past the guest's tables.
  mutating func physicalAccess(_ processor: Int) -> AccessStep {
    let limit = UInt64(1) << UInt64(swarm.machine.guestPhysicalBits)
    return access(processor, .physical(GuestPhysical(physical() & (limit - 1))))
  }

  /// An access of any kind.
  mutating func access(_ processor: Int, _ address: AccessStep.Address) -> AccessStep {
    let bits = chance.next()
    var step = AccessStep(at: address)
    step.processor = processor
    switch bits & 15 {
    case 0..<7: step.kind = .read
    case 7..<13: step.kind = .write
    default: step.kind = .fetch
    }
    switch bits >> 4 & 15 {
    case 0: step.byteCount = 1
    case 1: step.byteCount = 2
    case 2, 3: step.byteCount = 4
    case 4: step.byteCount = Int(1 + bits >> 32 & 63)
    case 5 where bits >> 40 & 7 == 0: step.byteCount = 4096
    default: step.byteCount = 8
    }
    switch bits >> 8 & 3 {
    case 0, 1: step.privilegeLevel = 3
    case 2: step.privilegeLevel = 0
    default: break
    }
    step.isImplicit = bits >> 12 & 31 == 0
    step.isEmulated = bits >> 17 & 15 < swarm.emulatedPart
    if step.kind == .write && bits >> 21 & 7 != 0 { step.value = value(bits >> 24) }
    return step
  }

  /// What a guest writes: data, or an entry of a table.
  private mutating func value(_ bits: UInt64) -> UInt64 {
    if bits & 3 == 0, let entry = picture.entries.pick(&chance) { return entry.value }
    if bits & 3 == 1 {
      return maker.page(at: pagePlace(), chance.pick(swarm.shapes), 1, &chance)
    }
    return bits
  }
}
