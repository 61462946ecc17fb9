public import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits

/// What a guest's instructions make the shadow tables forget.
///
/// Tables that are in sync follow every write to the guest's; only those out of sync act as a TLB
/// does, and have to forget.
extension ShadowMMU {
  /// INVLPG, in the current root and in those that were kept (KVM: `kvm_mmu_invlpg`).
  public func forget(
    _ address: GuestVirtual, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) {
    state.mmio.forget(address)
    guard let role = state.role, role.isPaged, !Mutation.invlpgDoesNotSync.isActive else {
      return
    }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    forget(address, in: state.root, state, &pending, tables, slots, process)
    for index in 0..<ShadowState.keptCount where state.kept[index].page != .none {
      if Mutation.invlpgMissesKeptRoots.isActive { break }
      forget(
        address, in: .page(state.kept[index].page), state, &pending, tables, slots, process)
    }
    if Mutation.invlpgLocalOnly.isActive { pending.flush.take().settle() }
    pending.commit(tables)
  }

  /// The guest gets a page fault for an address whose page is there: the current root forgets it,
  /// as a TLB does (KVM: `kvm_inject_emulated_page_fault`).
  public func forgetRefused(
    _ address: GuestVirtual, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) {
    state.mmio.forget(address)
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    forget(address, in: state.root, state, &pending, tables, slots, process)
    pending.commit(tables)
  }

  /// INVPCID of one address: in the roots of one PCID (KVM: `kvm_mmu_invpcid_gva`).
  public func forget(
    _ address: GuestVirtual, pcid: UInt16, _ state: inout ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    state.mmio.forget(address)
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    if state.pointer & 0xFFF == UInt64(pcid) {
      forget(address, in: state.root, state, &pending, tables, slots, process)
    }
    for index in 0..<ShadowState.keptCount where state.kept[index].page != .none {
      if Mutation.invpcidMissesKeptRoots.isActive { break }
      guard state.kept[index].pointer & 0xFFF == UInt64(pcid) else { continue }
      forget(
        address, in: .page(state.kept[index].page), state, &pending, tables, slots, process)
    }
    pending.commit(tables)
  }

  private func forget(
    _ address: GuestVirtual, in root: ShadowRoot, _ state: borrowing ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    var place = top(of: address, root, state, tables)
    while let here = place {
      if tables.shadow[here.page].isUnsync {
        if sync(here, state, &pending, tables, slots, process) == .failed {
          pending.flush.add(drop(here, tables, slots, process.host))
        }
        return
      }
      guard tables.shadow[here.page].unsyncChildren > 0 else { return }
      place = below(here, of: address, tables, process.host)
    }
  }

  /// Whose translations a flush is about.
  public enum FlushScope: Hashable, Sendable {
    /// One PCID's.
    case space(pcid: UInt16)
    /// Every one.
    case everything
  }

  /// A flush of linear translations: MOV to CR3 without bit 63, INVPCID, a toggled CR4.PGE (KVM:
  /// `kvm_invalidate_pcid`, `kvm_vcpu_flush_tlb_guest`).
  ///
  /// The current root is brought up to date; kept roots that it concerns are freed when they lead
  /// to tables out of sync, or, with PCIDs, whenever their PCID is meant.
  public func flush(
    _ scope: FlushScope, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) {
    state.mmio.forget()
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    if concerns(scope, state.pointer) && !Mutation.flushLeavesRootUnsynced.isActive {
      syncRoot(state.root, state, &pending, tables, slots, process)
    }
    for index in 0..<ShadowState.keptCount where state.kept[index].page != .none {
      let page = state.kept[index].page
      if Mutation.flushMissesKeptRoots.isActive { break }
      guard concerns(scope, state.kept[index].pointer) else { continue }
      if scope == .everything && tables.shadow[page].unsyncChildren == 0 { continue }
      put(page, tables)
      state.kept[index] = .empty
    }
    pending.commit(tables)
  }

  private func concerns(_ scope: FlushScope, _ pointer: UInt64) -> Bool {
    switch scope {
    case .everything: true
    case .space(let pcid):
      pointer & 0xFFF == (Mutation.flushOfZeroPCIDOnly.isActive ? 0 : UInt64(pcid))
    }
  }

  /// MOV to CR3 without PCIDs: the current root is brought up to date; each later load of a kept
  /// root is such a flush too.
  public func syncCurrent(
    _ state: inout ShadowState, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    state.mmio.forget()
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    if Mutation.cr3LoadDoesNotSync.isActive { return pending.commit(tables) }
    syncRoot(state.root, state, &pending, tables, slots, process)
    pending.commit(tables)
  }
}
