import DirectMMU
public import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits
import SubpageProtection

/// The memslot door, as a VMM sees it (KVM: `KVM_SET_USER_MEMORY_REGION`).
extension VirtualMachine {
  /// Creates, deletes (size 0), moves or re-flags a slot.
  ///
  /// When it returns, no processor uses anything of the layout before. Deleting and moving make
  /// every table obsolete, as KVM does by default (quirk `SLOT_ZAP_ALL`).
  public func setMemoryRegion(_ region: MemslotRegion) throws(MemslotError) {
    operations.lock()
    defer { operations.unlock() }
    guard var change = try slots.prepare(region) else { return }
    if change.needsInvalidPhase {
      swap(&change) { (slots, change) in slots.publishInvalid(&change) }
      let isKept =
        change.kind == .delete
        ? Mutation.deletedSlotNotZapped.isActive : Mutation.movedSlotNotZapped.isActive
      if !isKept { zapEverything() }
    }
    do throws(MemslotError) {
      try slots.prepareMetadata(&change)
    } catch {
      if slots.revert(&change) { finish(&change) }
      throw error
    }
    if configuration.mmu == .shadow { makeReverseMap(for: change) }
    tables.interleaver.reach(.beforeMemslotCommit)
    let (kind, old) = (change.kind, change.old)
    swap(&change) { (slots, change) in slots.publish(&change) }
    if configuration.mmu == .shadow { freeReverseMap(of: old, after: kind) }
    subpagesFollow(kind, from: old, to: change.new)
  }

  /// Shows readers another layout and waits until none of them can see the one before (KVM:
  /// `kvm_swap_active_memslots`).
  private func swap(
    _ change: inout PreparedMemslotChange,
    _ publish: (borrowing GuestMemory, inout PreparedMemslotChange) -> Void
  ) {
    slots.invalidations.holdNotifiers(letting: tables.interleaver)
    publish(slots, &change)
    slots.invalidations.memslotsPublished()
    tables.interleaver.reach(.afterMemslotPublish)
    finish(&change)
  }

  private func finish(_ change: inout PreparedMemslotChange) {
    waitForReaders()
    // When the bits that a device entry holds wrap, an old entry could look new: all go first
    // (KVM: `kvm_mmu_invalidate_mmio_sptes`).
    let next = slots.nextGeneration(of: change.addressSpace).raw & SPTELayout.MMIO.generationMask
    let spaces = UInt64(AddressSpace.allCases.count)
    if next & ~(spaces - 1) == 0 { zapEverything() }
    slots.finishSwap(&change)
  }

  /// Waits until every look at tables or memslots that is under way has ended (KVM:
  /// `synchronize_srcu_expedited`).
  private func waitForReaders() {
    if Mutation.readersNotAwaited.isActive { return }
    let stamp = tables.quiet.stamp()
    while !tables.quiet.hasPassed(stamp) { tables.interleaver.reach(.waitingForLock) }
  }

  /// Makes every table obsolete and empties the old ones (KVM: `kvm_mmu_zap_all_fast`).
  ///
  /// The caller holds the operations lock.
  func zapEverything() {
    if configuration.mmu == .shadow { return zapShadow() }
    direct.invalidateAllRoots(tables)
    // Processors leave their old roots before anything under them is freed.
    // SAFETY: the board lives as long as the machine.
    unsafe board.pointee.requestOfAll(.freeObsoleteRoots)
    subpages.dropInvalidatedRoots(tables, process.host)
    direct.zapInvalidatedRoots(tables, process.host)
    tables.reclaim(to: process.host)
  }

  /// Makes every table obsolete and empties the old ones.
  public func zapAll() {
    operations.lock()
    defer { operations.unlock() }
    zapEverything()
  }
}
