import GuestMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits

/// Faults on entries that say "device" (KVM: `handle_mmio_page_fault`).
extension DirectMMU {
  /// Recognizes a device without a look-up; `nil` sends the fault the long way.
  func deviceFault(
    _ request: FaultRequest, in root: ShadowPageID, _ state: inout FaultState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory
  ) -> FaultOutcome? {
    let frame = request.address.frame
    let space = tables.arena[root].role.space
    let asked: AddressSpace = Mutation.mmioCacheIgnoresSMMSlots.isActive ? .normal : space
    let generation = slots.generation(of: asked).raw
    if state.mmio.holds(frame, generation: generation) { return .emulate }
    let path = EntryPath(walking: root, to: frame, tables)
    let entry = path.entry
    // Somebody took the entry away between the exit and now.
    guard tables.encoding.isMMIO(entry) else { return .retry }
    let mask = SPTELayout.MMIO.generationMask
    let ours = generation & mask
    let theirs = tables.encoding.mmioGeneration(of: entry)
    tables.tap.record(
      .checkMMIO(
        spte: entry.raw, machineGeneration: UInt32(ours), entryGeneration: UInt32(theirs)))
    if Mutation.mmioGenerationUnchecked.isActive { return .emulate }
    guard generation >> 63 == 0, ours == theirs else { return nil }
    tables.tap.record(
      .handleMMIO(
        address: 0, tables.encoding.mmioFrame(of: entry),
        access: UInt32(tables.encoding.mmioAccess(of: entry))))
    state.mmio.remember(frame, generation: generation)
    return .emulate
  }
}
