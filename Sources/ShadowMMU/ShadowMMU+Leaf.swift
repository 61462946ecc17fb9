import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits
import X86Paging

/// Leaves.
extension ShadowMMU {
  /// Installs the entry of the page, or of a device (KVM: `mmu_set_spte`).
  func install(
    _ target: borrowing ShadowTarget, at place: ShadowPlace, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow
  ) -> ShadowFaultOutcome {
    let level = tables.arena[place.page].role.level
    let frame = target.frame.aligned(to: level)
    guard let page = target.page, let slot = target.slot else {
      return installDevice(target, at: place, tables, slots, process.host, statistics)
    }
    let base = page.frame.aligned(to: level)
    var old = tables.entry(at: place)
    let isOther =
      old.isPresentTable(at: level)
      || (old.isPresent
        && (tables.encoding.frame(of: old) != base || tables.translation(at: place).frame != frame))
    if isOther {
      let owed = drop(place, tables, slots, process.host)
      if Mutation.leafReplacedWithoutFlush.isActive {
        owed.settle()
      } else {
        owed.pay(tables.flusher)
      }
      old = .nonpresent
    }
    let request = LeafRequest(
      frame: base, level: level, rights: target.rights,
      host: page.isWritable ? .writable : .readOnly, cause: .access, accessedDirty: .enabled,
      backing: LeafRequest.Backing(page))
    let (new, isProtected) = leaf(
      request, target.frame, in: target.space, old, for: .access, tables, slots, process.host)
    var outcome = ShadowFaultOutcome.fixed
    if new == old {
      outcome = .spurious
    } else {
      let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
      pending.flush.add(
        tables.change(
          place, to: new, ShadowedTranslation(frame, target.rights), rows: row, row,
          process.host))
      tables.tap.record(
        .setSPTE(
          frame, spte: new.raw, level, at: tables.address(of: place),
          tables.encoding.rights(of: new)))
    }
    return isProtected && target.fault.kind == .write
      ? .writeProtected(target.address) : outcome
  }

  private func installDevice(
    _ target: borrowing ShadowTarget, at place: ShadowPlace, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory,
    _ statistics: borrowing CounterRow
  ) -> ShadowFaultOutcome {
    if tables.entry(at: place).isPresent && !Mutation.mmioSPTEOverPresentSPTE.isActive {
      drop(place, tables, slots, host).pay(tables.flusher)
    }
    let generation = slots.generation(of: target.space).raw
    let entry = tables.encoding.mmio(target.frame, target.rights, generation: generation)
    tables.tap.record(
      .markMMIO(
        at: tables.address(of: place), target.frame, access: UInt32(entry.raw & 6),
        generation: UInt32(generation & SPTELayout.MMIO.generationMask)))
    tables.change(
      place, to: entry, ShadowedTranslation(target.frame, target.rights), rows: nil, nil, host
    ).settle()
    statistics.add(to: .pf_mmio_spte_created)
    return .emulate(target.address)
  }

  /// Maps the empty neighbours in the aligned group of eight that guest and host already have
  /// (KVM: `FNAME(pte_prefetch)`, `direct_pte_prefetch`).
  ///
  /// A guess never looks like an access, never makes the host work, and never takes a table of the
  /// guest's out of sync.
  func prefetch(
    around target: borrowing ShadowTarget, at place: ShadowPlace, _ state: borrowing ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    guard !slots.invalidations.isInProgress else { return }
    let first = place.index & ~7
    for index in first..<first + 8 where index != place.index {
      let near = ShadowPlace(place.page, index)
      guard tables.entry(at: near) == .nonpresent else { continue }
      guard let translation = foreseen(near, target, state, tables, slots, process) else {
        continue
      }
      guard let slot = slots.slot(containing: translation.frame, in: target.space),
        !slot.isInvalid, !slot.logsWrites, !slot.isReadOnly,
        let page = process.lookUpMapped(slot.hostAddress(of: translation.frame), for: .write)
      else { return }
      let request = LeafRequest(
        frame: page.frame, level: .page4K, rights: translation.access, host: .writable,
        cause: .prefetch, accessedDirty: .enabled,
        backing: LeafRequest.Backing(page))
      let new = leaf(
        request, translation.frame, in: target.space, .nonpresent, for: .prefetch, tables, slots,
        process.host
      ).entry
      let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
      pending.flush.add(
        tables.change(near, to: new, translation, rows: nil, row, process.host))
    }
  }

  /// What a neighbour would translate.
  private func foreseen(
    _ near: ShadowPlace, _ target: borrowing ShadowTarget, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowedTranslation? {
    let row = tables.arena[near.page]
    if row.role.isDirect { return tables.translation(at: near) }
    guard
      var word = guestEntry(
        at: guestAddress(of: near, row), short: row.role.hasShortEntries, in: target.space,
        slots, process)
    else { return nil }
    var rights = row.role.access
    if Mutation.prefetchIgnoresUpperRights.isActive { rights = .all }
    if Mutation.prefetchIgnoresAccessedBit.isActive { word |= state.rules.format.accessedBit }
    if Mutation.prefetchIgnoresDirtyBit.isActive { word |= state.rules.format.dirtyBit }
    return translation(of: word, under: rights, state.rules)
  }
}
