import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits

/// Installing what a fault found (KVM: `kvm_tdp_mmu_map`).
extension DirectMMU {
  /// Walks to the level at which the page is to be mapped, building tables on the way, and
  /// installs the entry.
  ///
  /// It never tries twice: the guest faults again.
  func map(
    _ resolved: DirectFault, in root: ShadowPageID, _ cache: inout TableCache,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow
  ) -> FaultOutcome {
    var fault = resolved
    fault.goal = mappingLevel(of: fault, slots, process)
    if let page = fault.page {
      tables.tap.record(.spteRequested(fault.frame, page.frame, fault.goal))
    }
    let row = tables.arena[root]
    var path = EntryPath(
      in: tables, root: row.frame, level: row.role.level, space: fault.space,
      frame: fault.frame)
    while path.level > fault.goal {
      if path.entry.isFrozen { return .retry }
      if path.stepDown(towards: fault.frame) { continue }
      if Mutation.roLargeSPTENotDropped.isActive && path.entry.isPresentLeaf(at: path.level) {
        return .retry
      }
      guard link(at: path, row.role, &cache, tables, process.host) == .linked else { return .retry }
      path.reread()
    }
    if path.entry.isFrozen { return .retry }
    let outcome = install(fault, at: path, row.role, tables, slots, process.host, statistics)
    if outcome == .fixed && fault.goal == .page4K && configuration.prefetch == .alignedGroup {
      prefetch(around: fault, at: path, row.role, tables, slots, process)
    }
    return outcome
  }

  /// The largest level at which slot, host and configuration let the page be mapped (KVM:
  /// `kvm_mmu_hugepage_adjust`).
  private func mappingLevel(
    of fault: DirectFault, _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) -> Level {
    guard let slot = fault.slot, !slot.logsWrites, configuration.largestPage > .page4K else {
      return .page4K
    }
    let permitted = slots.largestLevel(
      in: slot, at: fault.frame, atMost: configuration.largestPage)
    if permitted == .page4K { return .page4K }
    let address = slot.hostAddress(of: fault.frame)
    if Mutation.hostLevelNotClamped.isActive { return process.mappingLevel(at: address) }
    if Mutation.wrongAddressSpaceForHostSize.isActive,
      let normal = slots.slot(containing: fault.frame, in: .normal)
    {
      return min(permitted, process.mappingLevel(at: normal.hostAddress(of: fault.frame)))
    }
    return min(permitted, process.mappingLevel(at: address))
  }

  private enum Link { case linked, lost }

  /// Puts a new table under an entry: empty, or holding the parts of the large page that the entry
  /// mapped.
  private func link(
    at path: EntryPath, _ rootRole: ShadowPageRole, _ cache: inout TableCache,
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> Link {
    var role = rootRole
    while role.level >= path.level { role = role.child() }
    let id = tables.makeTable(from: &cache, path.frame, role, generation: generation)
    tables.arena.setParentEntry(path.address, of: id)
    let frame = tables.arena[id].frame
    let isSplit = path.entry.isPresentLeaf(at: path.level)
    if isSplit {
      for index in 0..<512 {
        let part = tables.encoding.part(index, of: path.entry, at: path.level)
        tables.memory.setEntry(part.raw, at: frame.address + UInt64(index) * 8)
      }
    }
    tables.arena.goLive(id)
    let entry = tables.encoding.table(frame, accessedDirty: role.accessedDirty)
    switch tables.exchange(path.entry, with: entry, at: path.place, host) {
    case .changed(let flush):
      // The parts translate exactly as the large page did: nothing that a processor holds is wrong.
      flush.settle()
      if isSplit { tables.countParts(at: role.level) }
      return .linked
    case .lost:
      if isSplit { tables.memory.fillFrame(frame, with: SPTE.nonpresent.raw) }
      if Mutation.lostTableLeaked.isActive { return .lost }
      tables.putBack(id, in: &cache)
      return .lost
    }
  }

  /// Installs the entry of the page, or of a device (KVM: `tdp_mmu_map_handle_target_level`).
  private func install(
    _ fault: DirectFault, at path: EntryPath, _ role: ShadowPageRole,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory, _ host: borrowing HostMemory,
    _ statistics: borrowing CounterRow
  ) -> FaultOutcome {
    let new: SPTE
    if let page = fault.page {
      let isCareless = Mutation.hugeFrameNotAligned.isActive
      let base = isCareless ? page.frame : page.frame.aligned(to: fault.goal)
      new = leaf(
        LeafRequest(
          frame: base, level: fault.goal, rights: .all,
          host: page.isWritable ? .writable : .readOnly,
          cause: .access, accessedDirty: role.accessedDirty,
          backing: LeafRequest.Backing(page)),
        replacing: path.entry, of: fault.frame, in: fault.slot, tables)
    } else {
      let generation = slots.generation(of: fault.space).raw
      new = tables.encoding.mmio(fault.frame, .all, generation: generation)
      tables.tap.record(
        .markMMIO(
          at: path.address, fault.frame, access: UInt32(new.raw & 7),
          generation: UInt32(generation & SPTELayout.MMIO.generationMask)))
    }
    var outcome = FaultOutcome.fixed
    if new == path.entry {
      outcome = .spurious
    } else {
      switch tables.exchange(path.entry, with: new, at: path.place, host) {
      case .lost: return .retry
      case .changed(let flush): flush.pay(tables.flusher)
      }
    }
    if fault.page == nil {
      statistics.add(to: .pf_mmio_spte_created)
      return .emulate
    }
    tables.tap.record(
      .setSPTE(
        path.frame, spte: new.raw, path.level, at: path.address, tables.encoding.rights(of: new)))
    return outcome
  }

  /// Maps the empty neighbours in the aligned group of eight that the host already has (KVM:
  /// `direct_pte_prefetch`).
  ///
  /// Only with accessed bits, because a guess must not look like an access; not while anything is
  /// being invalidated; and never by making the host work.
  private func prefetch(
    around fault: DirectFault, at path: EntryPath, _ role: ShadowPageRole,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    let isUnasked = Mutation.prefetchDuringInvalidation.isActive
    let mayBegin = isUnasked || !slots.invalidations.isInProgress
    guard role.accessedDirty == .enabled, let slot = fault.slot, mayBegin else { return }
    let first = GuestFrame(fault.frame.number & ~7)
    let table = path.address.raw & ~0xFFF
    for number in first.number..<first.number + 8 where number != fault.frame.number {
      let frame = GuestFrame(number)
      let isBlind = Mutation.prefetchOverSlotEdge.isActive
      guard slot.contains(frame) || isBlind else { continue }
      let address = HostPhysical(table + UInt64(frame.index(at: .page4K)) * 8)
      let old = SPTE(raw: tables.memory.entry(at: address))
      if old != .nonpresent { continue }
      // KVM asks for writable pages only here, so that one entry serves reads and writes.
      let mayWrite = !slot.isReadOnly || Mutation.prefetchIntoReadOnlySlot.isActive
      guard mayWrite, !slot.logsWrites,
        let page = process.lookUpMapped(slot.hostAddress(of: frame), for: .write)
      else { return }
      let isForgotten = Mutation.prefetchForgetsSubpages.isActive
      let new = leaf(
        LeafRequest(
          frame: page.frame, level: .page4K, rights: .all, host: .writable, cause: .prefetch,
          accessedDirty: role.accessedDirty, backing: LeafRequest.Backing(page)),
        replacing: old, of: frame, in: isForgotten ? nil : slot, tables)
      let place = EntryPlace(address: address, frame: frame, level: .page4K, space: fault.space)
      switch tables.exchange(old, with: new, at: place, process.host) {
      case .lost: return
      case .changed(let flush): flush.pay(tables.flusher)
      }
      tables.tap.record(
        .setSPTE(frame, spte: new.raw, .page4K, at: address, tables.encoding.rights(of: new)))
    }
  }
}
