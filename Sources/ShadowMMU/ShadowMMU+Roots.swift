public import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits
public import X86Paging

/// Roots: what a processor's hardware walks, and what it may walk again (KVM: `kvm_mmu_load`,
/// `kvm_mmu_new_pgd`).
extension ShadowMMU {
  /// Whether a root could be loaded.
  public enum Load: Hashable, Sendable {
    /// It is; the caller flushes its processor.
    case loaded
    /// There is no memory or no room for tables.
    case refused
    /// Some of the bare tables that a special root over nested paging needs are there and some are
    /// not: they are another MMU's, which is a mistake of the caller's (KVM: `-EIO`).
    case mistaken
  }

  // MARK: Adopting registers

  /// What a change of registers came to.
  public enum Adoption: Hashable, Sendable {
    /// The root stays.
    case same
    /// Another root that was kept is current.
    case switched
    /// No root is loaded.
    case dropped
  }

  /// Takes over the registers that the guest has set: another mode drops all roots, another CR3
  /// looks for a root that was kept (KVM: `kvm_mmu_reset_context`, `kvm_mmu_new_pgd`).
  public func adopt(
    _ registers: borrowing ControlRegisters, in space: AddressSpace, features: PagingFeatures,
    _ state: inout ShadowState, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> Adoption {
    let role = ProcessorRole(registers, in: space)
    guard state.role == role else {
      freeRoots(.all, &state, tables, slots, process.host)
      take(role, role.rootRole, WalkRules(registers, features: features), &state)
      return .dropped
    }
    guard state.root != .none else { return .same }
    let pointer = state.pointer
    guard !isSpecial(state) else {
      let wanted = registers.cr3
      var isSame = !role.isPaged || pointer == wanted
      if state.rules.hasPDPTERegisters && !Mutation.stalePDPTEs.isActive {
        for index in 0..<4 where state.directory[index] != registers.pdptes[index] {
          isSame = false
        }
      }
      if isSame { return .same }
      freeRoots(.current, &state, tables, slots, process.host)
      return .dropped
    }
    if pointer == registers.cr3 { return .same }
    return change(to: registers.cr3, &state, tables, slots, process.host)
  }

  /// Takes a role that was computed elsewhere, with the rules that go with it; every root goes.
  ///
  /// A guest's nested page tables are read by such a role.
  public func take(
    _ role: ProcessorRole, _ rootRole: ShadowPageRole, _ rules: WalkRules,
    _ state: inout ShadowState
  ) {
    precondition(state.root == .none, "a role changes when no root is loaded")
    state.role = role
    state.rootRole = rootRole
    state.rules = rules
    state.mmio.forget()
  }

  private func isSpecial(_ state: borrowing ShadowState) -> Bool {
    if case .page = state.root { return false }
    return true
  }

  /// Another CR3: rotates the current root through the kept ones until a fitting one is current
  /// (KVM: `cached_root_find_and_keep_current`).
  private func change(
    to pointer: UInt64, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> Adoption {
    guard case .page(let page) = state.root else { return .dropped }
    state.mmio.forget()
    let old = Mutation.rootStashedUnderWrongCR3.isActive ? pointer : state.pointer
    var current = KeptRoot(page: page, pointer: old)
    for index in 0..<ShadowState.keptCount {
      let candidate = state.kept[index]
      state.kept[index] = current
      current = candidate
      if isUsable(current, pointer, state, tables) {
        state.root = .page(current.page)
        state.pointer = pointer
        tables.lock.lockExclusive()
        tables.shadow[current.page].writeCount = 0
        tables.lock.unlockExclusive()
        return .switched
      }
    }
    // The one that was rotated out goes.
    state.root = .none
    if current.page != .none {
      tables.lock.lockExclusive()
      put(current.page, tables)
      tables.lock.unlockExclusive()
    }
    return .dropped
  }

  private func isUsable(
    _ kept: KeptRoot, _ pointer: UInt64, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables
  ) -> Bool {
    if Mutation.keptRootOfAnyPCID.isActive && kept.page != .none {
      return kept.pointer >> 12 == pointer >> 12
    }
    return kept.page != .none && kept.pointer == pointer
      && tables.arena[kept.page].role == state.rootRole
      && tables.arena[kept.page].generation == generation
  }

  // MARK: Loading

  /// Loads a root for the registers that were adopted, after looking among those that were kept;
  /// what it leads to is brought up to date (KVM: `kvm_mmu_load`).
  public func load(
    _ registers: borrowing ControlRegisters, _ state: inout ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> Load {
    precondition(state.root == .none, "a root is loaded where none is")
    let isSpecial = state.rootRole.isSpecialRoot(overDepth: state.guestDepth)
    // A special root needs up to three local pages and four of level 2.
    guard tables.topUpShadow(&state.cache, 8, from: process.host) == .ready else {
      return .refused
    }
    let bare = makeBareTables(&state, isSpecial ? .special : .ordinary, tables, process.host)
    guard bare == .loaded else { return bare }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    var pending = PendingZap()
    guard makeRoom(&pending, tables, slots, process.host) else {
      pending.commit(tables)
      return .refused
    }
    state.pointer = registers.cr3
    state.directory = registers.pdptes
    if isSpecial {
      loadSpecial(&state, &pending, tables, slots, process)
    } else {
      let frame = GuestFrame((registers.cr3 & state.rules.format.frameMask) >> 12)
      if takeKept(registers.cr3, &state, tables) {
        // It was in use a moment ago, for this very CR3.
      } else if isVisible(frame, state, slots) {
        var role = state.rootRole
        role.quadrant = 0
        let id = page(frame, role, &state, &pending, tables, slots, process)
        tables.arena.addRootReferences(1, to: id)
        state.root = .page(id)
      } else {
        state.root = .dummy
      }
    }
    if !Mutation.loadedRootNotSynced.isActive {
      syncRoot(state.root, state, &pending, tables, slots, process)
    }
    pending.commit(tables)
    return .loaded
  }

  /// Takes a kept root that fits where no root is current; the ones behind move up.
  private func takeKept(
    _ pointer: UInt64, _ state: inout ShadowState, _ tables: borrowing PageTables
  ) -> Bool {
    for index in 0..<ShadowState.keptCount
    where isUsable(state.kept[index], pointer, state, tables) {
      state.root = .page(state.kept[index].page)
      for later in index..<ShadowState.keptCount - 1 { state.kept[later] = state.kept[later + 1] }
      state.kept[ShadowState.keptCount - 1] = .empty
      return true
    }
    return false
  }

  /// Whether a table of the guest's at a frame can be shadowed.
  func isVisible(
    _ frame: GuestFrame, _ state: borrowing ShadowState, _ slots: borrowing GuestMemory
  ) -> Bool {
    if Mutation.cr3NotValidatedOnSet.isActive { return true }
    return slots.slot(containing: frame, in: state.rootRole.space)?.isVisible == true
  }

  // MARK: Synchronizing

  /// Brings what a root leads to up to date (KVM: `kvm_mmu_sync_roots`).
  func syncRoot(
    _ root: ShadowRoot, _ state: borrowing ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) {
    switch root {
    case .none, .dummy: return
    case .page(let id), .local(let id):
      if tables.arena[id].role.isDirect { return }
      syncChildren(of: id, state, &pending, tables, slots, process)
    case .tables:
      for index in 0..<4 where state.special.pages[index] != .none {
        let id = state.special.pages[index]
        if Mutation.onlyFirstPDPTESynced.isActive && index > 0 { break }
        if tables.arena[id].role.isDirect { continue }
        syncChildren(of: id, state, &pending, tables, slots, process)
      }
    }
  }

  // MARK: Freeing

  /// Which roots are freed.
  public enum RootSelection: Hashable, Sendable {
    /// The one in use.
    case current
    /// All of them.
    case all
    /// Those that may not be used any more, and those that cannot tell.
    case obsolete
  }

  /// Gives roots back (KVM: `kvm_mmu_free_roots`, `kvm_mmu_free_obsolete_roots`).
  public func freeRoots(
    _ selection: RootSelection, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) {
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    if selection != .obsolete || cannotTell(state) || isObsolete(state, tables) {
      freeCurrent(&state, tables, slots, host)
      state.mmio.forget()
    }
    guard selection != .current else { return }
    for index in 0..<ShadowState.keptCount {
      let page = state.kept[index].page
      let judged = Mutation.onlyFirstPrevRootChecked.isActive ? state.kept[0].page : page
      if page == .none || judged == .none { continue }
      if selection == .obsolete && !isObsolete(judged, tables) { continue }
      put(page, tables)
      state.kept[index] = .empty
    }
  }

  /// Whether a root has no shadow page that would say how old it is.
  private func cannotTell(_ state: borrowing ShadowState) -> Bool {
    state.root == .tables || state.root == .dummy
  }

  /// Whether the current root may not be used any more; a root without a shadow page goes by the
  /// pages under it.
  public func isObsolete(
    _ state: borrowing ShadowState, _ tables: borrowing PageTables
  ) -> Bool {
    switch state.root {
    case .none: return false
    case .dummy: return state.mustReload
    case .page(let id): return isObsolete(id, tables)
    case .local(let id): return tables.arena[id].generation != generation
    case .tables:
      if state.mustReload { return true }
      for index in 0..<4 where state.special.pages[index] != .none {
        if isObsolete(state.special.pages[index], tables) { return true }
      }
      return false
    }
  }

  private func freeCurrent(
    _ state: inout ShadowState, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    switch state.root {
    case .none, .dummy: break
    case .page(let id): put(id, tables)
    case .local(let id): freeLocal(id, tables, slots, host)
    case .tables: freeSpecial(&state, tables)
    }
    state.root = .none
    state.mustReload = false
  }

  /// Gives one reference to a root back; an invalid one goes with the last (KVM:
  /// `mmu_free_root_page`).
  func put(_ id: ShadowPageID, _ tables: borrowing PageTables) {
    // An invalid one was emptied when it became so.
    let left = tables.arena.dropRootReference(of: id)
    if left == 0 && tables.arena[id].role.isInvalid && !Mutation.invalidRootLeaked.isActive {
      tables.retire(id)
    }
  }
}
