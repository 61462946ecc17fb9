import PagingUnits

/// What a VMM asks of sub-page protection, and writes around it.
extension FuzzGenerator {
  /// Queues something that is asked of sub-page protection, and accesses to where it was asked.
  mutating func protect() {
    let place = GuestPhysical(physical() & ~0xFFF)
    let count = chance.pick([1, 1, 1, 2, 3, 8, 40, 512, 513])
    var step: SubpageStep
    switch chance.below(8) {
    case 0: step = SubpageStep(.get(count: count), at: place)
    case 1: step = SubpageStep(.set(Array(repeating: .max, count: count)), at: place)
    default: step = SubpageStep(.set(permissions(count)), at: place)
    }
    step.space = chance.pick(swarm.spaces)
    if chance.chance(1, in: 64) { step.flags = 1 }
    queue(.subpage(step))
    for _ in 0..<chance.below(6) { queue(.access(writeNear(place, count))) }
    if chance.chance(1, in: 4) { queue(changeHost(at: place)) }
    if chance.chance(1, in: 8) {
      let level: Level? = chance.chance(1, in: 2) ? nil : Level(1 + chance.below(4))
      queue(.subpageEntry(place, level, step.space))
    }
  }

  /// One page is opened or protected.
  mutating func permission() -> SubpageStep {
    SubpageStep(.set(permissions(1)), at: GuestPhysical(physical() & ~0xFFF))
  }

  private mutating func permissions(_ count: Int) -> [UInt32] {
    let word = UInt32(truncatingIfNeeded: chance.next())
    let one: UInt32 = 1 << UInt32(chance.below(32))
    let kinds: [UInt32] = [0, one, ~one, word, 0xFFFF_0000, 0x5555_5555]
    let chosen = chance.pick(kinds)
    if chance.chance(2, in: 3) { return Array(repeating: chosen, count: count) }
    return (0..<count).map { _ in chance.chance(1, in: 2) ? chosen : chance.pick(kinds) }
  }

  /// A write to one of some pages, often over an edge between two sub-pages or pages.
  private mutating func writeNear(_ place: GuestPhysical, _ count: Int) -> AccessStep {
    let page = place.raw &+ UInt64(chance.below(count)) << 12
    let edge = UInt64(chance.below(33)) * 128
    let distances: [UInt64] = [0, 0, 1, 4, 7, 64]
    let address = page &+ edge &- chance.pick(distances)
    let number = processor()
    var step: AccessStep
    switch chance.below(4) {
    case 0: step = AccessStep(.write, at: .physical(GuestPhysical(address)))
    case 1:
      step = AccessStep(.write, at: .virtual(GuestVirtual(linear() & ~0xFFF | address & 0xFFF)))
    default: step = AccessStep(.write, at: .virtual(GuestVirtual(address)))
    }
    step.processor = number
    step.byteCount = chance.pick([1, 2, 4, 8, 8, 16, 64, 128, 129, 300])
    step.isEmulated = chance.chance(swarm.emulatedPart, in: 16)
    step.value = chance.next()
    return step
  }

  private mutating func changeHost(at place: GuestPhysical) -> Operation {
    .host(chance.pick(swarm.hostActions), place, byteCount: 1 << 12)
  }
}
