public import GuestMemory
public import HostMemory
public import MachineEvents
import Mutations
public import PageTables
import PagingUnits
import X86Paging

/// A fault on its way through the MMU.
struct DirectFault {
  let request: FaultRequest
  let kind: AccessKind
  let frame: GuestFrame
  let space: AddressSpace
  let slot: Memslot?
  /// The moment before the host's page was looked up.
  var moment: InvalidationMoment
  /// The host's page; `nil` for a device.
  var page: HostPage?
  /// The level at which the entry will be installed.
  var goal = Level.page4K
}

/// The life of a fault (KVM: `kvm_mmu_page_fault`, `kvm_tdp_mmu_page_fault`).
extension DirectMMU {
  /// Resolves a fault: afterwards the access may be tried again, or is left to the caller.
  ///
  /// Nothing is allocated, and nothing is locked while the host's page is looked up.
  ///
  /// * `root`: the root that the processor walked.
  /// * `state`: what the processor keeps between faults.
  /// * `statistics`: the processor's statistics.
  /// * `notifier`: who is told when the look-up changes the host's pages (copy-on-write).
  public func fault<Notifier: HostNotifier & ~Copyable>(
    _ request: FaultRequest, in root: ShadowPageID, _ state: inout FaultState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow,
    telling notifier: borrowing Notifier
  ) -> FaultOutcome {
    if request.errorCode.contains(.reserved) {
      if let outcome = deviceFault(request, in: root, &state, tables, slots) { return outcome }
    }
    statistics.add(to: .pf_taken)
    let outcome = resolve(
      request, in: root, &state, tables, slots, process, statistics, telling: notifier)
    switch outcome {
    case .fixed: statistics.add(to: .pf_fixed)
    case .emulate: statistics.add(to: .pf_emulate)
    case .spurious: statistics.add(to: .pf_spurious)
    case .retry, .writeProtected, .subpage, .failed: break
    }
    return outcome
  }

  private func resolve<Notifier: HostNotifier & ~Copyable>(
    _ request: FaultRequest, in root: ShadowPageID, _ state: inout FaultState,
    _ tables: borrowing PageTables, _ slots: borrowing GuestMemory,
    _ process: borrowing HostAddressSpace, _ statistics: borrowing CounterRow,
    telling notifier: borrowing Notifier
  ) -> FaultOutcome {
    let frame = request.address.frame
    let space = tables.arena[root].role.space
    let slot = slots.slot(containing: frame, in: space, hint: &state.slotHint)
    // An address that the root cannot tell from a lower one is not in its tables.
    if frame < configuration.frameLimit, let outcome = fastFault(request, in: root, slot, tables) {
      statistics.add(to: .pf_fast)
      return outcome
    }
    guard tables.topUp(&state.cache, from: process.host) == .ready else {
      if Mutation.splitFailureMeansRetry.isActive { return .retry }
      return .failed(.noMemory)
    }
    var fault = DirectFault(
      request: request, kind: request.kind, frame: frame, space: space, slot: slot,
      moment: slots.invalidations.moment)
    if let outcome = findPage(
      &fault, &state, tables, slots, process, telling: notifier)
    {
      return outcome
    }
    tables.interleaver.reach(.beforeMMULock, frame.number)
    if Mutation.momentTakenAfterLookUp.isActive { fault.moment = slots.invalidations.moment }
    tables.lock.lockShared()
    defer { tables.lock.unlockShared() }
    if isStale(fault, root, tables, slots) { return .retry }
    return map(fault, in: root, &state.cache, tables, slots, process, statistics)
  }

  /// Finds the host's page (KVM: `kvm_faultin_pfn`); an outcome ends the fault.
  private func findPage<Notifier: HostNotifier & ~Copyable>(
    _ fault: inout DirectFault, _ state: inout FaultState, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory, _ process: borrowing HostAddressSpace,
    telling notifier: borrowing Notifier
  ) -> FaultOutcome? {
    tables.interleaver.reach(.beforeHostLookup, fault.frame.number)
    guard let slot = fault.slot else {
      let isEarly = Mutation.mmioGenerationPublishedTooEarly.isActive
      let asked: AddressSpace =
        Mutation.mmioCacheIgnoresSMMSlots.isActive ? .normal : fault.space
      let now = slots.generation(of: asked)
      let next = slots.nextGeneration(of: asked)
      state.mmio.remember(
        fault.frame, generation: isEarly && now.isInProgress ? next.raw : now.raw)
      let isMappable = tables.encoding.cachesMMIO && fault.frame < configuration.frameLimit
      return isMappable ? nil : .emulate
    }
    if Mutation.invalidSlotTreatedAsMMIO.isActive && slot.isInvalid { return .emulate }
    if slot.isInvalid { return .retry }
    if slots.invalidations.shouldRetryEarly(fault.frame, since: fault.moment) { return .retry }
    let access: HostAccess = fault.kind == .write ? .write : .read
    if Mutation.roMemoryWriteTakenForTableWrite.isActive && access == .write && slot.isReadOnly {
      return .writeProtected
    }
    if access == .write && slot.isReadOnly { return .emulate }
    let address = slot.hostAddress(of: fault.frame)
    switch process.lookUp(address, for: access, telling: notifier) {
    case .page(let page):
      // A read-only slot takes the right to write away, whatever the host's mapping permits (KVM:
      // `__gfn_to_pfn_memslot` clears `writable`).
      let isBelieved = Mutation.readOnlySlotMappedWritable.isActive
      fault.page = slot.isReadOnly && !isBelieved ? page.readOnly : page
    case .badAddress: return .failed(.badAddress)
    case .readOnly: return .emulate
    case .poisoned: return .failed(.poisoned)
    case .refused: return .failed(.noMemory)
    }
    return slots.invalidations.shouldRetryEarly(fault.frame, since: fault.moment) ? .retry : nil
  }

  /// Whether the world changed while the host's page was looked up (KVM: `is_page_fault_stale`).
  private func isStale(
    _ fault: DirectFault, _ root: ShadowPageID, _ tables: borrowing PageTables,
    _ slots: borrowing GuestMemory
  ) -> Bool {
    if Mutation.retryCheckSkipped.isActive { return isObsolete(root, tables) }
    let isBlind = Mutation.obsoleteRootNotChecked.isActive
    if isObsolete(root, tables) && !isBlind { return true }
    return fault.slot != nil && slots.invalidations.mustRetry(fault.frame, since: fault.moment)
  }
}
