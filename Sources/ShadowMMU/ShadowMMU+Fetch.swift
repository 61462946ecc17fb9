import GuestMemory
import HostMemory
import MachineEvents
import Mutations
import PageTables
import PagingUnits
import X86Paging

/// Building the way to a leaf (KVM: `FNAME(fetch)`, `direct_map`).
extension ShadowMMU {
  /// Builds or follows the shadow tables for a walk of the guest's, and installs the leaf.
  ///
  /// Each table is write-protected before the entry that led to it is read again, and linked only
  /// when that entry is as the walk found it.
  func fetch(
    _ target: borrowing ShadowTarget, _ state: inout ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow
  ) -> ShadowFaultOutcome {
    let address = target.fault.address
    guard var place = top(of: address, state.root, state, tables) else {
      // Memory has come since where the guest's root or a PDPTE lies.
      state.mustReload = !Mutation.dummyRootNeverLeft.isActive
      return .retry
    }
    let topmost = state.rules.hasPDPTERegisters ? 2 : state.rules.rootDepth
    guard topmost == 0 || isUnchanged(Level(topmost), target, state, slots, process) else {
      return .retry
    }
    // With paging off nothing of the guest's stands behind any level.
    let leafDepth =
      state.rules.rootDepth == 0
      ? tables.arena[place.page].role.depth : Int(target.mapping.level.depth)
    while tables.arena[place.page].role.depth > leafDepth {
      tables.shadow[place.page].writeCount = 0
      guard
        let next = stepToGuestTable(
          place, target, &state, &pending, tables, slots, process)
      else { return .retry }
      place = next
    }
    let goal = goal(of: target, state, slots, process)
    if let page = target.page {
      tables.tap.record(.spteRequested(target.frame, page.frame, goal))
    }
    while tables.arena[place.page].role.level > goal {
      tables.shadow[place.page].writeCount = 0
      place = stepToLinear(place, target, &state, &pending, tables, slots, process)
    }
    tables.shadow[place.page].writeCount = 0
    let outcome = install(target, at: place, &pending, tables, slots, process, statistics)
    if outcome == .fixed && goal == .page4K && configuration.prefetch == .alignedGroup {
      prefetch(around: target, at: place, state, &pending, tables, slots, process)
    }
    return outcome
  }

  /// Goes down to the shadow of the guest's next table, making it if need be.
  private func stepToGuestTable(
    _ place: ShadowPlace, _ target: borrowing ShadowTarget, _ state: inout ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowPlace? {
    let role = tables.arena[place.page].role
    guard let level = role.level.below else {
      preconditionFailure("a leaf of the guest's is at level 1 or above")
    }
    let index = Self.index(of: target.fault.address, at: level)
    let isLocal =
      level >= .page1G && state.rootRole.isSpecialRoot(overDepth: state.guestDepth)
    var existing = tables.child(at: place, process.host)
    let child: ShadowPageID
    if isLocal {
      child = existing ?? makeLocal(at: level, &state, tables, process.host)
    } else {
      guard let step = target.path[level] else {
        preconditionFailure("a walk reads an entry of each level on its way")
      }
      let rights =
        Mutation.inheritedAccessFromFullWalk.isActive ? target.mapping.rights : step.rightsAbove
      let wanted = role.child(rights, .guestTable, at: place.index)
      if let found = existing, !isMeant(found, step.tableFrame, wanted, tables) {
        drop(place, tables, slots, process.host).pay(tables.flusher)
        existing = nil
      }
      child =
        existing
        ?? page(step.tableFrame, wanted, &state, &pending, tables, slots, process)
      // What is still out of sync below belongs to another address space, or to this one before
      // the guest gave the table up.
      let hasUnsynced = existing == nil && tables.shadow[child].unsyncChildren > 0
      if hasUnsynced && !Mutation.linkUnsyncedChild.isActive {
        syncChildren(of: child, state, &pending, tables, slots, process)
      }
    }
    let isRegister = state.rules.hasPDPTERegisters && level == .page1G
    if !isRegister && Int(level.depth) <= state.rules.rootDepth {
      guard isUnchanged(level, target, state, slots, process) else {
        return nil
      }
    }
    if existing == nil { link(place, to: child, &pending, tables, slots, process.host) }
    return ShadowPlace(child, index)
  }

  /// Goes down to a table under a large page of the guest's, or under a guest without paging: one
  /// that maps consecutive frames.
  private func stepToLinear(
    _ place: ShadowPlace, _ target: borrowing ShadowTarget, _ state: inout ShadowState,
    _ pending: inout PendingZap, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowPlace {
    let role = tables.arena[place.page].role
    guard let level = role.level.below else {
      preconditionFailure("a leaf of ours is at level 1 or above")
    }
    let index = Self.index(of: target.fault.address, at: level)
    var frame = target.frame.aligned(to: role.level)
    if Mutation.splitSPBaseGFNWrong.isActive && role.hasShortEntries {
      frame = GuestFrame(frame.number & ~0x3FF)
    }
    var rights = target.rights
    if Mutation.directSPKeyWithoutAccess.isActive { rights = .all }
    if Mutation.directSPKeyWithoutNX.isActive { rights.insert(.execute) }
    if Mutation.directSPAccessFromParentOnly.isActive { rights = role.access }
    if Mutation.nowpWriteIntoRODirectSP.isActive { rights = target.mapping.rightsWhileClean }
    let wanted = role.child(rights, .linear, at: place.index)
    if let child = tables.child(at: place, process.host) {
      let isKept =
        Mutation.writeUpgradeCorruptsRODirectSP.isActive
        || isMeant(child, frame, wanted, tables)
      if isKept { return ShadowPlace(child, index) }
      // The same page with other rights: another table (KVM: `validate_direct_spte`).
      drop(place, tables, slots, process.host).pay(tables.flusher)
    }
    let child = page(frame, wanted, &state, &pending, tables, slots, process)
    link(place, to: child, &pending, tables, slots, process.host)
    return ShadowPlace(child, index)
  }

  /// Whether a table that is linked is the one that a walk asks for.
  ///
  /// While a store to the guest's entry is performed and not told yet, the entry leads elsewhere
  /// than the table that is linked does.
  private func isMeant(
    _ child: ShadowPageID, _ frame: GuestFrame, _ role: ShadowPageRole,
    _ tables: borrowing PageTables
  ) -> Bool {
    let row = tables.arena[child]
    // The kernel's bug is older than this question.
    if Mutation.inheritedAccessFromFullWalk.isActive { return true }
    return (row.guestFrame == frame || Mutation.childSPGFNNotRechecked.isActive)
      && (row.role == role || Mutation.childSPRoleNotRechecked.isActive)
  }

  /// Whether the guest's entry of a level still is what the walk found and marked (KVM:
  /// `FNAME(gpte_changed)`).
  private func isUnchanged(
    _ level: Level, _ target: borrowing ShadowTarget, _ state: borrowing ShadowState,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) -> Bool {
    guard let step = target.path[level], !Mutation.propagateWithStaleGuestRead.isActive else {
      return true
    }
    let format = state.rules.format
    guard
      let now = guestEntry(
        at: step.address, short: format.entryShift == 2, in: target.space, slots, process)
    else { return false }
    if level == target.mapping.level { return now == target.mapping.entry }
    if now == step.entry | format.accessedBit { return true }
    // The marks of tables that may not be written stay as they are.
    guard now == step.entry,
      let slot = slots.slot(containing: step.address.frame, in: target.space)
    else { return false }
    return slot.isReadOnly
      || process.lookUpMapped(slot.hostAddress(of: step.address.frame), for: .write) == nil
  }

  /// The largest level at which guest, slot, host and configuration let the page be mapped (KVM:
  /// `kvm_mmu_hugepage_adjust`).
  private func goal(
    of target: borrowing ShadowTarget, _ state: borrowing ShadowState,
    _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> Level {
    // Without paging a page of 2 MiB is the largest.
    let guest = state.rules.rootDepth == 0 ? Level.page2M : target.mapping.level
    let limit = min(guest, configuration.largestPage)
    guard let slot = target.slot, target.page != nil, !slot.logsWrites, limit > .page4K else {
      return .page4K
    }
    let permitted =
      Mutation.largePageOverTable.isActive
      ? limit : slots.largestLevel(in: slot, at: target.frame, atMost: limit)
    if permitted == .page4K { return .page4K }
    return min(permitted, process.mappingLevel(at: slot.hostAddress(of: target.frame)))
  }
}
