public import HostMemory
import MachineEvents
import Mutations
public import PagingUnits

/// What came of an attempt to change an entry.
public enum EntryChange: ~Copyable {
  /// The entry is the new one; the flush has to be paid.
  case changed(PendingFlush)
  /// Somebody else was faster; nothing happened.
  case lost
}

/// The entry door: the only place where entries of live tables change (KVM: `handle_changed_spte`,
/// `tdp_mmu_set_spte_atomic`, `mmu_spte_update`).
extension PageTables {
  /// Replaces an entry among other readers, if it still is what the caller saw.
  ///
  /// A frozen entry is never replaced this way: whoever froze it finishes.
  public func exchange(
    _ old: SPTE, with new: SPTE, at place: EntryPlace, _ host: borrowing HostMemory
  ) -> EntryChange {
    precondition(!old.isFrozen, "only whoever froze an entry replaces it")
    interleaver.reach(.beforeEntryExchange, place.frame.number)
    if interleaver.loses(.beforeEntryExchange, place.frame.number) { return .lost }
    let found = memory.compareExchangeEntry(
      expected: old.raw, desired: new.raw, at: place.address)
    if Mutation.lostExchangeTakenAsSuccess.isActive && found != old.raw {
      return .changed(PendingFlush(place.frame, place.level))
    }
    guard found == old.raw else { return .lost }
    return .changed(account(old, new, at: place, under: .shared, host))
  }

  /// Replaces an entry under the writer side of the MMU lock.
  ///
  /// Processors and lockless fixes may still change the old entry's volatile bits, so the entry
  /// that was really replaced is the one that counts.
  public func replace(
    _ old: SPTE, with new: SPTE, at place: EntryPlace, _ host: borrowing HostMemory
  ) -> PendingFlush {
    interleaver.reach(.beforeEntryReplacement, place.frame.number)
    var actual = old
    if Mutation.nonAtomicVolatileSPTEUpdate.isActive {
      interleaver.reach(.beforeEntryExchange)
      memory.setEntry(new.raw, at: place.address)
      return account(old, new, at: place, under: .exclusive, host)
    }
    if old.isPresentLeaf(at: place.level) && encoding.hasVolatileBits(old) {
      actual = SPTE(raw: memory.exchangeEntry(new.raw, at: place.address))
    } else {
      memory.setEntry(new.raw, at: place.address)
    }
    return account(actual, new, at: place, under: .exclusive, host)
  }

  /// Gives a right back to an entry without a lock; `false` when somebody else was faster (KVM:
  /// `fast_pf_fix_direct_spte`).
  ///
  /// Only rights come back, so no count changes and no flush is owed.
  public func fix(_ old: SPTE, with new: SPTE, at address: HostPhysical) -> Bool {
    precondition(
      encoding.frame(of: old) == encoding.frame(of: new), "a repaired entry still maps its page")
    interleaver.reach(.beforeEntryExchange, address.raw)
    if interleaver.loses(.beforeEntryExchange, address.raw) { return false }
    return memory.compareExchangeEntry(expected: old.raw, desired: new.raw, at: address) == old.raw
  }

  /// Counts the 512 leaves of a large page that was split into entries of `level`.
  public func countParts(at level: Level) { count(512, at: level) }

  /// Takes an entry away among other readers: freezes it, has every processor forget it, and only
  /// then lets others install something new (KVM: `tdp_mmu_zap_spte_atomic`).
  public func zapShared(
    _ old: SPTE, at place: EntryPlace, _ host: borrowing HostMemory
  ) -> EntryZap {
    switch exchange(old, with: .frozen, at: place, host) {
    case .lost: return .lost
    case .changed(let flush):
      interleaver.reach(.beforeFrozenFlush)
      flush.pay(flusher)
      memory.setEntry(SPTE.nonpresent.raw, at: place.address)
      return .zapped
    }
  }

  /// Whether an entry could be taken away.
  public enum EntryZap: Hashable, Sendable { case zapped, lost }

  /// Everything that follows from an entry having been `old` and being `new`.
  private func account(
    _ old: SPTE, _ new: SPTE, at place: EntryPlace, under side: Exclusivity,
    _ host: borrowing HostMemory
  ) -> PendingFlush {
    var flush = PendingFlush()
    guard old != new else { return flush }
    tap.record(
      .tdpSPTEChanged(
        space: place.space.rawValue, place.frame, place.level, old: old.raw, new: new.raw))
    let wasLeaf = old.isPresentLeaf(at: place.level)
    let isLeaf = new.isPresentLeaf(at: place.level)
    precondition(
      !(wasLeaf && isLeaf && encoding.frame(of: old) != encoding.frame(of: new)),
      "a mapping moves to another frame only through an empty entry")
    if Mutation.lpageStatsCountMMIO.isActive && encoding.isMMIO(new) && new.raw >> 7 & 1 == 1 {
      count(1, at: .page2M)
    }
    if wasLeaf != isLeaf { count(isLeaf ? 1 : -1, at: place.level) }
    if wasLeaf {
      markHostPage(old, unless: isLeaf ? new : nil, host)
      if !isLeaf || encoding.owesFlush(from: old, to: new) { flush.owe(place.frame, place.level) }
    }
    if Mutation.flushOnlyFor4KChanges.isActive && place.level > .page4K {
      flush.settle()
      flush = PendingFlush()
    }
    if old.isPresentTable(at: place.level) && !new.isPresentTable(at: place.level) {
      removeTable(encoding.frame(of: old), under: side, host)
      flush.owe(place.frame, place.level)
    }
    return flush
  }

  /// Tells the host what a mapping that goes, or loses its marks, knew of its page.
  func markHostPage(_ old: SPTE, unless new: SPTE?, _ host: borrowing HostMemory) {
    if Mutation.dirtyStateLostOnZap.isActive { return }
    if Mutation.accessedLostWithEPT.isActive && !encoding.hasAccessedDirty { return }
    let stillDirty = new.map { encoding.isDirty($0) } ?? false
    let frame = encoding.frame(of: old)
    if encoding.isDirty(old) && !stillDirty { host.records.markDirty(frame) }
    let stillAccessed = new.map { encoding.isAccessed($0) } ?? false
    if encoding.isAccessed(old) && !stillAccessed { host.records.markAccessed(frame) }
  }

  func count(_ amount: Int64, at level: Level) {
    switch level {
    case .page4K: counters.add(amount, to: .pages_4k)
    case .page2M: counters.add(amount, to: .pages_2m)
    default: counters.add(amount, to: .pages_1g)
    }
  }

  /// A table was unlinked: its entries are frozen for ever and what hung under it goes too (KVM:
  /// `handle_removed_pt`).
  ///
  /// A reader may still walk into it; it finds frozen entries and comes back later. The recursion
  /// is as deep as our own tables, at most four.
  private func removeTable(
    _ frame: HostFrame, under side: Exclusivity, _ host: borrowing HostMemory
  ) {
    let id = page(of: frame, host)
    if Mutation.removedTableForgotten.isActive { return retire(id) }
    let (first, role) = (arena[id].guestFrame, arena[id].role)
    for index in 0..<512 {
      let covered = first + UInt64(index) * role.level.frameCount
      let place = EntryPlace(
        address: frame.address + UInt64(index) * 8, frame: covered, level: role.level,
        space: role.space)
      var old = SPTE(raw: memory.entry(at: place.address))
      switch side {
      case .shared:
        // A reader may be about to install something: take whatever it is until it is frozen.
        repeat {
          old = SPTE(raw: memory.exchangeEntry(SPTE.frozen.raw, at: place.address))
          if old.isFrozen { interleaver.reach(.waitingForLock) }
        } while old.isFrozen
      case .exclusive:
        guard old.isPresent else { continue }
        old = SPTE(raw: memory.exchangeEntry(SPTE.frozen.raw, at: place.address))
      }
      // The unlinking entry's own flush covers everything below it.
      account(old, .frozen, at: place, under: side, host).settle()
    }
    retire(id)
    interleaver.reach(.tableUnlinked, first.number)
  }
}
