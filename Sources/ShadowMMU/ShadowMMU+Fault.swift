public import GuestMemory
public import HostMemory
public import MachineEvents
import Mutations
public import PageTables
public import PagingUnits
public import X86Paging

/// The life of a shadow fault (KVM: `FNAME(page_fault)`, `nonpaging_page_fault`).
extension ShadowMMU {
  // `@inlinable`: the walk is generic over the guest's memory, which lives in other modules; where
  // it is not specialised a fault costs half as much again.
  /// Resolves a fault: afterwards the access may be tried again, is the guest's own mistake, or is
  /// left to the caller.
  ///
  /// * `registers`: the guest's own.
  /// * `state`: what the MMU keeps for the processor, whose root is loaded.
  /// * `guest`: the memory that the guest's tables lie in; reading it may fault host pages in.
  /// * `notifier`: who is told when the look-up changes the host's pages (copy-on-write).
  @inlinable
  public func fault<Guest: GuestTableMemory & ~Copyable, Notifier: HostNotifier & ~Copyable>(
    _ fault: ShadowFault, _ registers: borrowing ControlRegisters, _ state: inout ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow,
    in guest: inout Guest, telling notifier: borrowing Notifier
  ) -> ShadowFaultOutcome {
    let device = recognize(fault, &state, tables, slots, process.host)
    if device == .gone { return .retry }
    if device != .known { statistics.add(to: .pf_taken) }
    let walk = state.rules.walk(
      fault.address, fault.kind, by: fault.privilege, registers, marking: .update, in: &guest)
    return resolve(
      fault, walk, device, &state, tables, slots, process, statistics, telling: notifier)
  }

  /// What is known of a fault before the guest's tables are walked.
  @usableFromInline enum DeviceFault {
    /// Nothing.
    case none
    /// It is about a device.
    case known
    /// It is about a device of an older layout, or what was one.
    case stale
    /// The entry that said so has gone.
    case gone
  }

  @usableFromInline func recognize(
    _ fault: ShadowFault, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> DeviceFault {
    guard fault.errorCode.contains(.reserved) else { return .none }
    return device(at: fault.address, &state, tables, slots, host)
  }

  /// What follows from the walk of the guest's own tables.
  @usableFromInline func resolve<Notifier: HostNotifier & ~Copyable>(
    _ fault: ShadowFault, _ walk: GuestWalk, _ device: DeviceFault, _ state: inout ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow,
    telling notifier: borrowing Notifier
  ) -> ShadowFaultOutcome {
    let space = state.rootRole.space
    let mapping: GuestMapping
    switch walk.outcome {
    case .mapped(let found): mapping = found
    case .fault(let refused): return .guestFault(refused.code)
    case .nonCanonical: return .nonCanonical
    case .refused, .contended: return .retry
    }
    let slot = slots.slot(containing: mapping.frame, in: space, hint: &state.slotHint)
    if device == .known {
      if slot == nil { return .emulate(mapping.address) }
      // The guest has put memory there since and has not said so.
      statistics.add(to: .pf_taken)
    }
    var target = ShadowTarget(
      fault: fault, path: walk.path, mapping: mapping, space: space, slot: slot,
      rights: fault.kind == .write || Mutation.cleanPageShadowedWritable.isActive
        ? mapping.rights : mapping.rightsWhileClean,
      moment: slots.invalidations.moment)
    let outcome: ShadowFaultOutcome
    switch supervisorWrite(target, state) {
    case .ordinary:
      outcome = resolve(&target, &state, tables, slots, process, statistics, telling: notifier)
    case .throughLeaf(let rights):
      target.rights = rights
      outcome = resolve(&target, &state, tables, slots, process, statistics, telling: notifier)
    case .byInstruction: outcome = .writeProtected(mapping.address)
    }
    switch outcome {
    case .fixed: statistics.add(to: .pf_fixed)
    case .emulate: statistics.add(to: .pf_emulate)
    case .spurious: statistics.add(to: .pf_spurious)
    default: break
    }
    return outcome
  }

  /// What is to be done about a supervisor's write to a page that is read-only in the guest's
  /// tables.
  private enum SupervisorWrite {
    /// Nothing: the write is not one.
    case ordinary
    /// The leaf permits it, with these rights.
    case throughLeaf(AccessRights)
    /// No leaf may permit it: the hypervisor performs the write.
    case byInstruction
  }

  /// Lets a supervisor write to a read-only page while the guest's CR0.WP is 0, although the
  /// hardware's is 1: the leaf becomes a supervisor's writable page until user mode asks for it.
  ///
  /// With SMEP the supervisor must not execute what is a user's page in truth. With SMAP, a user's
  /// page that the supervisor reached with EFLAGS.AC set must stay a user's, or accesses with AC
  /// clear would reach it too; no leaf is both. (KVM makes it a supervisor's page there as well.)
  private func supervisorWrite(
    _ target: borrowing ShadowTarget, _ state: borrowing ShadowState
  ) -> SupervisorWrite {
    guard let role = state.role, role.isPaged, !role.base.respectsWriteProtection,
      target.fault.kind == .write, target.fault.privilege != .user,
      !target.mapping.rights.contains(.write), let slot = target.slot
    else { return .ordinary }
    let isUsers = target.mapping.rights.contains(.user)
    let isGuarded =
      role.details.contains(.accessPrevention) && !Mutation.smapNoWPThroughLeaf.isActive
    if isUsers && isGuarded && !slot.isInvalid {
      return .byInstruction
    }
    var rights = target.rights
    rights.insert(.write)
    if !Mutation.userKeepsEmulatedWrite.isActive { rights.remove(.user) }
    if Mutation.smepNoWPMissingNX.isActive { return .throughLeaf(rights) }
    if role.details.contains(.executionPrevention) { rights.remove(.execute) }
    return .throughLeaf(rights)
  }

  private func resolve<Notifier: HostNotifier & ~Copyable>(
    _ target: inout ShadowTarget, _ state: inout ShadowState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow,
    telling notifier: borrowing Notifier
  ) -> ShadowFaultOutcome {
    if target.fault.kind == .write, target.fault.errorCode.contains(.present),
      !target.fault.errorCode.contains(.reserved)
    {
      tables.lock.lockExclusive()
      let isTracked =
        target.slot != nil && isTracked(target.frame, seenIn: target.space, tables, slots)
      if isTracked { clearWriteCounts(along: target.fault.address, state, tables, process.host) }
      tables.lock.unlockExclusive()
      if isTracked { return .writeProtected(target.address) }
    }
    guard
      tables.topUpShadow(&state.cache, TableCache.minimum, from: process.host) == .ready
    else { return .failed(.noMemory, target.address) }
    if let outcome = findPage(&target, &state, tables, slots, process, telling: notifier) {
      return outcome
    }
    tables.interleaver.reach(.beforeMMULock, target.frame.number)
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    if isStale(target, state, tables, slots) { return .retry }
    var pending = PendingZap()
    guard makeRoom(&pending, tables, slots, process.host) else {
      pending.commit(tables)
      return .failed(.noMemory, target.address)
    }
    // The oldest pages may have been this processor's own.
    if !Mutation.staleCheckBeforeReclaim.isActive && isStale(target, state, tables, slots) {
      pending.commit(tables)
      return .retry
    }
    let outcome = fetch(
      target, &state, &pending, tables, slots, process, statistics)
    pending.commit(tables)
    return outcome
  }

  /// Finds the host's page (KVM: `kvm_faultin_pfn`); an outcome ends the fault.
  private func findPage<Notifier: HostNotifier & ~Copyable>(
    _ target: inout ShadowTarget, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace,
    telling notifier: borrowing Notifier
  ) -> ShadowFaultOutcome? {
    tables.interleaver.reach(.beforeHostLookup, target.frame.number)
    guard let slot = target.slot else {
      let generation = slots.generation(of: target.space).raw
      state.mmio.remember(target.fault.address, generation: generation)
      let isMappable =
        tables.encoding.cachesMMIO && target.frame < configuration.frameLimit
      return isMappable ? nil : .emulate(target.address)
    }
    if slot.isInvalid { return .retry }
    if slots.invalidations.shouldRetryEarly(target.frame, since: target.moment) { return .retry }
    let access: HostAccess = target.fault.kind == .write ? .write : .read
    if access == .write && slot.isReadOnly { return .emulate(target.address) }
    switch process.lookUp(slot.hostAddress(of: target.frame), for: access, telling: notifier) {
    case .page(let page): target.page = slot.isReadOnly ? page.readOnly : page
    case .badAddress: return .failed(.badAddress, target.address)
    case .readOnly: return .emulate(target.address)
    case .poisoned: return .failed(.poisoned, target.address)
    case .refused: return .failed(.noMemory, target.address)
    }
    return slots.invalidations.shouldRetryEarly(target.frame, since: target.moment)
      ? .retry : nil
  }

  /// Whether the world changed while the host's page was looked up (KVM: `is_page_fault_stale`).
  private func isStale(
    _ target: borrowing ShadowTarget, _ state: borrowing ShadowState,
    _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory
  ) -> Bool {
    if isObsolete(state, tables) { return true }
    return target.slot != nil
      && slots.invalidations.mustRetry(target.frame, since: target.moment)
  }

  // MARK: Devices

  /// Recognizes a device without a look-up (KVM: `handle_mmio_page_fault`).
  private func device(
    at address: GuestVirtual, _ state: inout ShadowState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ host: borrowing HostMemory
  ) -> DeviceFault {
    let space = state.rootRole.space
    let generation = slots.generation(of: space).raw
    if state.mmio.holds(address, generation: generation) { return .known }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    guard let place = lowestPlace(of: address, state.root, state, tables, host) else {
      return .gone
    }
    let entry = tables.entry(at: place)
    guard tables.encoding.isMMIO(entry) else { return .gone }
    let mask = SPTELayout.MMIO.generationMask
    let theirs = tables.encoding.mmioGeneration(of: entry)
    tables.tap.record(
      .checkMMIO(
        spte: entry.raw, machineGeneration: UInt32(generation & mask),
        entryGeneration: UInt32(theirs)))
    guard generation >> 63 == 0,
      generation & mask == theirs || Mutation.shadowDeviceGenerationUnchecked.isActive
    else { return .stale }
    tables.tap.record(
      .handleMMIO(
        address: address.raw, tables.encoding.mmioFrame(of: entry),
        access: UInt32(tables.encoding.mmioAccess(of: entry))))
    state.mmio.remember(address, generation: generation)
    return .known
  }
}
