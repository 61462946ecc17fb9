import PagingUnits
import VirtualMachine

/// What happens at the same time.
extension FuzzGenerator {
  /// Queues sequences that run interleaved: each processor in at most one of them, the VMM and the
  /// host in one each.
  mutating func interleave() {
    var sequences: [[Step]] = []
    for processor in 0..<swarm.machine.processors where sequences.count < 2 {
      sequences.append((0..<(1 + chance.below(4))).map { _ in Step(operation(of: processor)) })
    }
    if sequences.count < 2 || chance.chance(1, in: 2) {
      sequences.append((0..<(1 + chance.below(3))).map { _ in Step(operationOfOutside()) })
    }
    let order = Interleaving.Order.seed(chance.next())
    queue(.interleave(Interleaving(order, together: sequences)))
  }

  /// Something that a processor does; where its tables are shadowed, also what they follow.
  private mutating func operation(of processor: Int) -> Operation {
    switch chance.below(swarm.machine.mmu == .shadow ? 16 : 8) {
    case 0: return .invalidatePage(processor: processor, GuestVirtual(linear()))
    case 1, 2: return .access(physicalAccess(processor))
    case 8...11: return .access(tableStore(by: processor) ?? virtualAccess(processor))
    case 12: return pointerLoad(processor)
    case 13: return contextInvalidation(processor)
    case 14: return registerChange(processor)
    default: return .access(virtualAccess(processor))
    }
  }

  /// Something that neither a processor does nor the guest sees.
  private mutating func operationOfOutside() -> Operation {
    if swarm.protects && chance.chance(1, in: 3) { return .subpage(permission()) }
    if swarm.machine.mmu == .shadow && chance.chance(1, in: 6) {
      return .trim(1 + chance.below(24))
    }
    switch chance.below(8) {
    case 0: return .zapAll
    case 1:
      guard let slot = picture.slots.randomSlot(&chance) else { return .zapAll }
      var change = MemslotChange(
        id: slot.id, at: GuestPhysical(slot.address), byteCount: slot.byteCount)
      change.space = slot.space
      change.logsWrites = chance.chance(1, in: 2)
      change.isReadOnly = slot.isReadOnly
      return .memslot(change)
    case 2:
      return .write(
        GuestPhysical(physical() & ~7),
        GuestBytes(words: [picture.entries.pick(&chance)?.value ?? 0]))
    default: return changeHost()
    }
  }
}
