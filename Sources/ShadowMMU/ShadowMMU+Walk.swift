public import HostMemory
public import PageTables
public import PagingUnits

/// Walks of our own tables, by linear address (KVM: `kvm_shadow_walk_iterator`).
extension ShadowMMU {
  /// The index of the entry that translates an address at a level.
  static func index(of address: GuestVirtual, at level: Level) -> Int {
    Int(truncatingIfNeeded: (address.raw >> (12 + 9 * UInt64(level.depth - 1))) & 511)
  }

  /// The topmost entry for an address that lies in a shadow page; `nil` when there is none.
  ///
  /// Bare tables of special roots are jumped over: the PDPTE leads to a page of level 2.
  func top(
    of address: GuestVirtual, _ root: ShadowRoot, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables
  ) -> ShadowPlace? {
    let page: ShadowPageID
    switch root {
    case .none, .dummy: return nil
    case .tables:
      page = state.special.pages[Int(truncatingIfNeeded: address.raw >> 30) & 3]
      if page == .none { return nil }
    case .page(let id), .local(let id): page = id
    }
    return ShadowPlace(page, Self.index(of: address, at: tables.arena[page].role.level))
  }

  /// The entry below one, if it points to a table.
  func below(
    _ place: ShadowPlace, of address: GuestVirtual, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> ShadowPlace? {
    let level = tables.arena[place.page].role.level
    guard let child = tables.child(at: place, host), let below = level.below else { return nil }
    return ShadowPlace(child, Self.index(of: address, at: below))
  }

  /// The lowest entry for an address.
  func lowestPlace(
    of address: GuestVirtual, _ root: ShadowRoot, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> ShadowPlace? {
    var place = top(of: address, root, state, tables)
    while let here = place {
      guard let next = below(here, of: address, tables, host) else { return here }
      place = next
    }
    return nil
  }

  /// The guest's frame that a leaf maps for an address; `nil` when none does.
  ///
  /// It takes the writer side of the MMU lock.
  public func translation(
    of address: GuestVirtual, _ state: borrowing ShadowState, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> GuestPhysical? {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    guard let place = lowestPlace(of: address, state.root, state, tables, host) else { return nil }
    let level = tables.arena[place.page].role.level
    guard tables.entry(at: place).isPresentLeaf(at: level) else { return nil }
    return tables.translation(at: place).frame.address + address.offset(in: level)
  }

  /// The MMU walks through these pages for a guest's access: they are in use (KVM:
  /// `clear_sp_write_flooding_count`).
  func clearWriteCounts(
    along address: GuestVirtual, _ state: borrowing ShadowState, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) {
    var place = top(of: address, state.root, state, tables)
    while let here = place {
      tables.shadow[here.page].writeCount = 0
      place = below(here, of: address, tables, host)
    }
  }
}
