import GuestMemory
import HostMemory
import Mutations
import PageTables
public import PagingUnits
public import X86Paging

/// The guest's tables as the hypervisor reads them: through memslots and the host process, never
/// through tables of ours (KVM: `kvm_read_guest`, `kvm_vcpu_gfn_to_hva_prot`).
///
/// It lives for one call of the machine, whose operations lock its maker holds, or inside whose
/// quiet section it is.
@safe public struct GuestTables: GuestTableMemory, ~Copyable {
  // SAFETY: whoever makes a value keeps the machine in place for as long as it lives.
  private let machine: UnsafePointer<VirtualMachine>
  private let space: AddressSpace
  /// The slot in which the last table lay.
  private var hint = SlotHint()

  /// The tables in one address space of a machine that stays in place meanwhile.
  @unsafe public init(of machine: UnsafePointer<VirtualMachine>, in space: AddressSpace) {
    unsafe self.machine = machine
    self.space = space
  }

  /// Does something with an entry while its page cannot move.
  private func withEntry<Result>(
    at address: GuestPhysical, for access: HostAccess,
    _ body: (PhysicalMemory, HostPhysical) -> Result
  ) -> Found<Result> {
    for _ in 0..<GuestWalk.restartLimit {
      // SAFETY: the machine stays in place.
      switch unsafe machine.pointee.place(of: address, for: access, in: space) {
      case .absent, .failed: return .absent
      case .readOnly: return .readOnly
      case .at(let found, _, let host):
        // SAFETY: the machine stays in place.
        let memory = unsafe machine.pointee.tables.memory
        let result = unsafe machine.pointee.process.withPage(at: host, for: access) { place in
          body(memory, Mutation.gpteADWrittenToWrongFrame.isActive ? found : place)
        }
        // The page may have gone since it was looked up; then it is looked up again.
        if let result { return .done(result) }
      }
    }
    return .absent
  }

  /// What came of reaching for an entry.
  private enum Found<Result> {
    case done(Result)
    case absent
    case readOnly
  }

  /// Reads an 8-byte entry, faulting its host page in.
  public mutating func entry(at address: GuestPhysical) -> EntryRead { read(address, .eight) }

  /// Reads a 4-byte entry, faulting its host page in.
  public mutating func shortEntry(at address: GuestPhysical) -> EntryRead { read(address, .four) }

  private mutating func read(
    _ address: GuestPhysical, _ size: HostAddressSpace.WordSize
  ) -> EntryRead {
    // SAFETY: the machine stays in place.
    let slot = unsafe machine.pointee.slots.slot(
      containing: address.frame, in: space, hint: &hint)
    guard case .address(let page) = slot.hostAddress(of: address.frame, for: .read) else {
      return .absent
    }
    let host = page + address.pageOffset
    for _ in 0..<GuestWalk.restartLimit {
      // SAFETY: the machine stays in place.
      if let word = unsafe machine.pointee.process.word(at: host, size) { return .entry(word) }
      // The page is brought in; it may go again before it is read.
      guard
        case .page = unsafe machine.pointee.process.lookUp(
          host, for: .read, telling: machine.pointee)
      else { return .absent }
    }
    return .absent
  }

  /// Replaces an 8-byte entry if it still equals `expected`.
  public mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange {
    if isRefused(address, 8) { return .readOnly }
    return outcome(
      withEntry(at: address, for: .write) { memory, place in
        memory.compareExchangeEntry(expected: expected, desired: desired, at: place) == expected
      })
  }

  /// Replaces a 4-byte entry if it still equals `expected`.
  public mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange {
    if isRefused(address, 4) { return .readOnly }
    let outcome = outcome(
      withEntry(at: address, for: .write) { memory, place in
        memory.compareExchangeEntry32(expected: expected, desired: desired, at: place) == expected
      })
    // SAFETY: the machine stays in place.
    if outcome == .exchanged { unsafe machine.pointee.markedShortEntry(at: address) }
    return outcome
  }

  /// Whether sub-page protection refuses a mark in an entry; it stays clear then, as in memory that
  /// is read-only.
  private func isRefused(_ address: GuestPhysical, _ byteCount: UInt64) -> Bool {
    if Mutation.guestMarksIgnoreSubpages.isActive { return false }
    // SAFETY: the machine stays in place.
    if unsafe machine.pointee.configuration.guestMarks == .permitted { return false }
    // SAFETY: the machine stays in place.
    return unsafe !machine.pointee.permitsStore(at: address, byteCount: byteCount, in: space)
  }

  private func outcome(_ found: Found<Bool>) -> EntryExchange {
    switch found {
    case .done(let isExchanged): isExchanged ? .exchanged : .mismatch
    case .absent: .absent
    case .readOnly: .readOnly
    }
  }

  /// Where a guest-physical byte lies.
  enum Place {
    /// Here, in a page of this size, at this address of the host process.
    case at(HostPhysical, Level, HostVirtual)
    /// In no slot: a device, if anything.
    case absent
    /// It is to be written and may only be read.
    case readOnly
    /// The host cannot give the page.
    case failed(HostLookup)
  }
}

extension VirtualMachine {
  /// Where a guest-physical byte lies in host memory, faulting the host's page in.
  ///
  /// The caller holds the operations lock or is inside a quiet section, and holds no other lock.
  func place(
    of address: GuestPhysical, for access: HostAccess, in space: AddressSpace
  ) -> GuestTables.Place {
    let slot = slots.slot(containing: address.frame, in: space)
    switch slot.hostAddress(of: address.frame, for: access) {
    case .bad: return .absent
    case .readOnlyBad: return .readOnly
    case .address(let host):
      switch process.lookUp(host, for: access, telling: self) {
      case .page(let page):
        if Mutation.gpteADWrittenToWrongFrame.isActive, access == .write, let slot,
          page.isDevice
        {
          let offset = address.raw - slot.baseFrame.address.raw
          return .at(HostPhysical(offset), .page4K, host + address.pageOffset)
        }
        return .at(
          page.frame.address + address.pageOffset, process.mappingLevel(at: host),
          host + address.pageOffset)
      case .readOnly: return .readOnly
      case .badAddress: return .failed(.badAddress)
      case .poisoned: return .failed(.poisoned)
      case .refused: return .failed(.refused)
      }
    }
  }
}
