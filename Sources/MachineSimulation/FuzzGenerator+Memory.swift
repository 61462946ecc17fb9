import PagingUnits
import VirtualMachine

/// Slots, and what the host does behind them.
extension FuzzGenerator {
  /// Queues a slot.
  mutating func createSlot() {
    let anchor = chance.pick(swarm.anchors)
    let nearby: [UInt64] = [0, 0, 0, 1, 3, 8, 511, 512]
    let distance = chance.pick(nearby) << 12
    let address = (chance.chance(1, in: 3) ? anchor &- distance : anchor &+ distance) & ~0xFFF
    var pages = 1 + chance.below(swarm.slotPages)
    // Large pages fit into some.
    if chance.chance(1, in: 3) { pages = swarm.slotPages }
    var change = MemslotChange(
      id: UInt16(chance.below(6)), at: GuestPhysical(address), byteCount: pages << 12)
    change.backing = chance.pick(swarm.backings)
    switch change.backing {
    case .huge2M: change.byteCount = (change.byteCount + 0x1F_FFFF) & ~0x1F_FFFF
    case .huge1G: change.byteCount = 1 << 30
    case .device: change.byteCount = min(change.byteCount, 16 << 12)
    default: break
    }
    if change.backing == .huge2M || change.backing == .huge1G {
      let unit: UInt64 = change.backing == .huge1G ? 1 << 30 : 1 << 21
      if chance.chance(7, in: 8) { change.address = GuestPhysical(address & ~(unit - 1)) }
    }
    // The very first slot is the one in which tables lie.
    change.isReadOnly = !picture.slots.isEmpty && chance.chance(swarm.readOnlyPart, in: 16)
    change.logsWrites = chance.chance(1, in: 12)
    change.space = chance.pick(swarm.spaces)
    if chance.chance(1, in: 12), let other = picture.slots.randomSlot(&chance),
      // Under shadow paging a guest's table is watched by its address, and by that alone.
      swarm.machine.mmu == .direct
    {
      change.sharing = other.id
      change.byteCount = other.byteCount
    }
    if chance.chance(1, in: 8) { change.hostOffset = chance.below(UInt64(600)) << 12 }
    // Seldom what no slot can be.
    if chance.chance(1, in: 64) { change.byteCount += chance.below(UInt64(4096)) }
    if chance.chance(1, in: 64) { change.address = GuestPhysical(chance.next()) }
    queue(.memslot(change))
  }

  private func change(_ slot: GuestPicture.Slot) -> MemslotChange {
    var change = MemslotChange(
      id: slot.id, at: GuestPhysical(slot.address), byteCount: slot.byteCount)
    change.isReadOnly = slot.isReadOnly
    change.logsWrites = slot.logsWrites
    change.backing = slot.backing
    change.space = slot.space
    return change
  }

  /// Queues the deletion of a slot; mostly not of the one with the tables.
  mutating func deleteSlot() {
    guard let slot = picture.slots.randomSlot(&chance) else { return createSlot() }
    if slot == picture.slots.first && chance.chance(3, in: 4) { return createSlot() }
    var change = change(slot)
    change.byteCount = 0
    queue(.memslot(change))
    accessSome(of: slot)
    // Often it comes back, as another one.
    if chance.chance(2, in: 3) {
      change.byteCount = slot.byteCount
      change.backing = chance.pick(swarm.backings)
      if chance.chance(1, in: 4) { change.isReadOnly.toggle() }
      queue(.memslot(change))
      accessSome(of: slot)
    }
  }

  /// Queues a move of a slot.
  mutating func moveSlot() {
    guard let slot = picture.slots.randomSlot(&chance) else { return createSlot() }
    var change = change(slot)
    let distances: [UInt64] = [1, 2, 16, 512]
    let distance = chance.pick(distances) << 12
    let address = chance.chance(1, in: 2) ? slot.address &+ distance : slot.address &- distance
    change.address = GuestPhysical(address)
    queue(.memslot(change))
    accessSome(of: slot)
  }

  /// Queues new flags of a slot.
  mutating func flagSlot() {
    guard let slot = picture.slots.randomSlot(&chance) else { return createSlot() }
    var change = change(slot)
    if chance.chance(3, in: 4) {
      change.logsWrites.toggle()
    } else {
      change.isReadOnly.toggle()
    }
    queue(.memslot(change))
    accessSome(of: slot)
  }

  /// Queues accesses to where a slot is, or was.
  private mutating func accessSome(of slot: GuestPicture.Slot) {
    for _ in 0..<chance.below(4) {
      let pages = max(1, slot.byteCount >> 12)
      let page = chance.chance(1, in: 2) ? chance.below(min(pages, 8)) : chance.below(pages)
      let place = GuestPhysical(slot.address &+ page << 12 &+ offsetInPage())
      queue(.access(access(processor(), .physical(place))))
    }
  }

  // MARK: The host

  /// Something that the host does.
  mutating func changeHost() -> Operation {
    let action = chance.pick(swarm.hostActions)
    var place = physical()
    var byteCount: UInt64 = 1 << 12
    switch chance.below(8) {
    case 0:
      if let slot = picture.slots.randomSlot(&chance) {
        place = slot.address
        // Each page of a gigabyte would take seconds.
        byteCount = min(slot.byteCount, 16 << 20)
      }
    case 1:
      place &= ~0x1F_FFFF
      byteCount = 1 << 21
    case 2: byteCount = (1 + chance.below(UInt64(40))) << 12
    default: break
    }
    if action == .collapse || action == .split {
      place &= ~0x1F_FFFF
      byteCount = 1 << 21
    }
    return .host(action, GuestPhysical(place), byteCount: byteCount)
  }
}

extension [GuestPicture.Slot] {
  /// One of the slots; `nil` without any.
  func randomSlot(_ chance: inout SeededGenerator) -> GuestPicture.Slot? {
    isEmpty ? nil : chance.pick(self)
  }
}
