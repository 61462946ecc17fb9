import GuestMemory
public import HostMemory
import MachineEvents
import Mutations
public import PageTables
public import PagingUnits
import X86Paging

/// Roots that no table of the guest's stands behind, in both designs.
extension ShadowMMU {
  /// Which kind of root the bare tables are for.
  enum RootKind { case ordinary, special }

  /// Makes the bare tables that a load may need, before it locks (KVM: `mmu_alloc_special_roots`);
  /// when the host refuses memory, none of them is kept.
  func makeBareTables(
    _ state: inout ShadowState, _ kind: RootKind, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> Load {
    let depth = state.rootRole.depth
    if kind == .ordinary || configuration.specialRoots == .localPages {
      if state.special.dummy == nil { state.special.dummy = bareTable(.below4G, tables, host) }
      guard let dummy = state.special.dummy else { return .refused }
      suit(dummy, empty: 0, state, tables, host)
      // The root is the first that is taken from the cache.
      let isReady =
        kind == .ordinary || depth > 3
        || tables.setLowTableAside(in: &state.cache, from: host) == .ready
      return isReady ? .loaded : .refused
    }
    if depth >= 4 && state.special.isPartial(for: depth) { return .mistaken }
    let (pae, level4, level5) = (
      state.special.pae ?? bareTable(.below4G, tables, host),
      depth < 4 ? nil : state.special.level4 ?? bareTable(.anywhere, tables, host),
      depth < 5 ? nil : state.special.level5 ?? bareTable(.anywhere, tables, host)
    )
    let isComplete = (depth < 4 || level4 != nil) && (depth < 5 || level5 != nil)
    guard let pae, isComplete else {
      if let pae, state.special.pae == nil { host.freeTable(pae) }
      if let level4, state.special.level4 == nil { host.freeTable(level4) }
      if let level5, state.special.level5 == nil { host.freeTable(level5) }
      return .refused
    }
    suit(pae, empty: 0, state, tables, host)
    // Where one was made for another mode, it stands in for this root too.
    if let dummy = state.special.dummy { suit(dummy, empty: 0, state, tables, host) }
    state.special.pae = pae
    state.special.level4 = level4 ?? state.special.level4
    state.special.level5 = level5 ?? state.special.level5
    return .loaded
  }

  /// An empty table that is no shadow page.
  ///
  /// A PAE root lies below 4 GiB, because PAE paging's CR3 has 32 bits.
  private func bareTable(
    _ zone: FrameZone, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) -> HostFrame? {
    guard let frame = host.allocateTable(owner: 0, in: zone) else { return nil }
    tables.memory.fillFrame(frame, with: 0)
    return frame
  }

  /// Builds a special root; with paging off, for a guest of 32-bit or of PAE paging (KVM:
  /// `mmu_alloc_direct_roots`, `mmu_alloc_shadow_roots`).
  func loadSpecial(
    _ state: inout ShadowState, _ pending: inout PendingZap, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace
  ) {
    let root = GuestFrame((state.pointer & state.rules.format.frameMask) >> 12)
    if !state.rootRole.isDirect && !state.rules.hasPDPTERegisters && !isVisible(root, state, slots)
    {
      // The dummy of a special root is its own table without an entry.
      state.root = .dummy
      if let pae = state.special.pae { tables.memory.fillFrame(pae, with: 0) }
      return
    }
    switch configuration.specialRoots {
    case .localPages:
      state.root = .local(makeLocal(at: state.rootRole.level, &state, tables, process.host))
    case .tables:
      state.root = .tables
      for index in 0..<4 {
        let page = levelTwo(index, &state, &pending, tables, slots, process)
        state.special.pages[index] = page
        setPointer(index, to: page, state, tables)
      }
      linkUpper(state, tables)
    }
  }

  /// The page of level 2 for one GiB of a special root of bare tables; `.none` where the guest has
  /// none.
  private func levelTwo(
    _ index: Int, _ state: inout ShadowState, _ pending: inout PendingZap,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace
  ) -> ShadowPageID {
    var role = state.rootRole
    role.depth = 2
    role.isPassthrough = false
    var frame = GuestFrame(UInt64(index) << 18)
    if !role.isDirect {
      if role.hasShortEntries {
        role.quadrant = Mutation.wrongQuadrant.isActive ? 0 : index
        frame = GuestFrame((state.pointer & state.rules.format.frameMask) >> 12)
      } else {
        let pointer = state.directory[index]
        guard pointer & 1 != 0 else { return .none }
        frame = GuestFrame((pointer & state.rules.format.frameMask) >> 12)
        guard isVisible(frame, state, slots) else { return .none }
      }
    }
    let id = page(frame, role, &state, &pending, tables, slots, process)
    tables.arena.addRootReferences(1, to: id)
    return id
  }

  private func setPointer(
    _ index: Int, to page: ShadowPageID, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables
  ) {
    guard let table = state.special.pae else { return }
    let word = page == .none ? 0 : entry(tables.arena[page].frame, state, tables)
    tables.memory.setEntry(word, at: table.address + UInt64(index) * 8)
  }

  /// An entry of a bare table: PDPTEs of PAE paging have no rights, entries that other modes walk
  /// have all.
  private func entry(
    _ frame: HostFrame, _ state: borrowing ShadowState, _ tables: borrowing PageTables
  ) -> UInt64 {
    let encryption = Mutation.specialEntriesMissEncryption.isActive ? 0 : tables.encoding.encryption
    return frame.number << 12 | encryption | (state.rootRole.depth >= 4 ? 0x27 : 1)
  }

  /// Lets the tables above the PDPTEs lead to them.
  private func linkUpper(_ state: borrowing ShadowState, _ tables: borrowing PageTables) {
    if state.rootRole.depth >= 4, let level4 = state.special.level4, let pae = state.special.pae {
      tables.memory.setEntry(entry(pae, state, tables), at: level4.address)
    }
    if state.rootRole.depth >= 5, let level5 = state.special.level5,
      let level4 = state.special.level4
    {
      tables.memory.setEntry(entry(level4, state, tables), at: level5.address)
    }
  }

  /// Gives the pages of level 2 back; the bare tables stay.
  func freeSpecial(_ state: inout ShadowState, _ tables: borrowing PageTables) {
    for index in 0..<4 {
      let page = state.special.pages[index]
      if page != .none && !Mutation.specialRootKeepsPages.isActive { put(page, tables) }
      state.special.pages[index] = .none
      setPointer(index, to: .none, state, tables)
    }
  }

  /// Gives the bare tables of a processor back that goes.
  public func freeBareTables(
    _ state: inout ShadowState, _ tables: borrowing PageTables, _ host: borrowing HostMemory
  ) {
    precondition(state.root == .none, "a processor that goes has given its roots back")
    if let frame = state.special.pae { encryptAgain(frame, empty: 0, tables, host) }
    if let frame = state.special.dummy { encryptAgain(frame, empty: 0, tables, host) }
    if let frame = state.special.pae { host.freeTable(frame) }
    if let frame = state.special.level4 { host.freeTable(frame) }
    if let frame = state.special.level5 { host.freeTable(frame) }
    if let frame = state.special.dummy { host.freeTable(frame) }
    state.special = SpecialTables()
  }

  // MARK: Local pages

  /// A shadow page of the processor's own: at level 3 or above, of no frame of the guest's.
  @inline(never) func makeLocal(
    at level: Level, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ host: borrowing HostMemory
  ) -> ShadowPageID {
    var role = state.rootRole
    role.depth = Int(level.depth)
    role.quadrant = 0
    role.isPassthrough = false
    let page = tables.makeShadow(
      from: &state.cache, GuestFrame(0), role, generation: generation, .local)
    if level == state.rootRole.level {
      suit(tables.arena[page].frame, empty: SPTE.nonpresent.raw, state, tables, host)
    }
    return page
  }

  /// Frees a special root of local pages: from the top down along entries 0, and at level 3 the
  /// children of all four entries are unlinked.
  func freeLocal(
    _ root: ShadowPageID, _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ host: borrowing HostMemory
  ) {
    var page = root
    while true {
      var next: ShadowPageID?
      let depth = tables.arena[page].role.depth
      if depth > 3 { next = tables.child(at: ShadowPlace(page, 0), host) }
      for index in 0..<(depth > 3 || Mutation.localRootFreedInPart.isActive ? 1 : 4) {
        // Nobody walks it but this processor, which loads another root and flushes.
        drop(ShadowPlace(page, index), tables, slots, host).settle()
      }
      encryptAgain(tables.arena[page].frame, empty: SPTE.nonpresent.raw, tables, host)
      tables.retire(page)
      guard let next else { return }
      page = next
    }
  }

  // MARK: What the hardware walks

  /// The frame of the table at which the hardware's walk starts (KVM: `mmu->root.hpa`).
  public func rootFrame(
    _ state: borrowing ShadowState, _ tables: borrowing PageTables
  ) -> HostFrame? {
    switch state.root {
    case .none: return nil
    case .page(let id), .local(let id): return tables.arena[id].frame
    case .dummy: return state.special.dummy ?? state.special.pae
    case .tables:
      switch state.rootRole.depth {
      case 5: return state.special.level5
      case 4: return state.special.level4
      default: return state.special.pae
      }
    }
  }
}
