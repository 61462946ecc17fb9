import GuestMemory
import HardwareModel
import HostMemory
import MachineEvents
import Mutations
import PageTables
public import PagingUnits
public import ShadowMMU
import X86Paging

/// What shadow paging does beside accesses: the guest's instructions, and memslots.
extension VirtualMachine {
  // MARK: Instructions of the guest

  /// Makes the shadow tables and the hardware forget what an instruction says.
  func invalidateShadow(_ number: Int, _ what: Invalidation) {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    tables.quiet.enter(number)
    adopt(number)
    let registers = unsafe processor.pointee.registers
    // Without CR4.PCIDE the low bits of CR3 are no PCID, and every root is of PCID 0 (KVM:
    // `kvm_get_pcid`).
    let identifies = CR4Layout.contextIdentifiers.isSet(in: registers.cr4)
    // Outside 64-bit mode an address has 32 bits.
    func reached(_ address: GuestVirtual) -> GuestVirtual {
      Mutation.invlpgByAllBits.isActive ? address : linear(address, number)
    }
    switch what {
    case .linearAddress(let address), .linearAddressOf(_, let address):
      unsafe processor.pointee.counters.add(to: .invlpg)
      unsafe shadow.forget(
        reached(address), &processor.pointee.shadow, tables, slots, process)
    case .linearAddressIn(_, let address) where !identifies:
      // SAFETY: the processor is the caller's own.
      unsafe shadow.forget(
        reached(address), &processor.pointee.shadow, tables, slots, process)
    case .linearAddressIn(let pcid, let address):
      unsafe shadow.forget(
        reached(address), pcid: pcid, &processor.pointee.shadow, tables, slots, process)
    case .currentSpace where !identifies, .space where !identifies:
      // SAFETY: the processor is the caller's own.
      unsafe shadow.syncCurrent(&processor.pointee.shadow, tables, slots, process)
    case .currentSpace:
      let pcid = UInt16(truncatingIfNeeded: registers.cr3 & 0xFFF)
      // SAFETY: the processor is the caller's own.
      unsafe shadow.flush(
        .space(pcid: pcid), &processor.pointee.shadow, tables, slots, process)
    case .space(let pcid):
      // SAFETY: the processor is the caller's own.
      unsafe shadow.flush(
        .space(pcid: pcid), &processor.pointee.shadow, tables, slots, process)
    case .everything, .allLinear, .allSpaces, .identifier, .identifierExceptGlobal,
      .allIdentifiers:
      unsafe shadow.flush(.everything, &processor.pointee.shadow, tables, slots, process)
    case .root, .allRoots: break
    }
    tables.quiet.leave(number)
    // SAFETY: the processors live as long as the machine.
    var mode = unsafe processor.pointee.hardwareRegisters
    mode.cr3 = mode.cr3 & ~0xFFF | registers.cr3 & 0xFFF
    // SAFETY: the processors live as long as the machine.
    unsafe processor.pointee.hardware.invalidate(what, mode)
  }

  /// Says that a write to a page that holds a table of the guest's has been performed: what shadows
  /// the bytes before is dropped.
  ///
  /// * `address`: the guest-physical address of the first byte; the bytes lie in one page.
  public func stored(_ number: Int, at address: GuestPhysical, byteCount: Int) {
    guard configuration.mmu == .shadow else { return }
    tables.quiet.enter(number)
    defer { tables.quiet.leave(number) }
    tables.interleaver.reach(.beforeMMULock, address.frame.number)
    // SAFETY: the processor is the caller's own.
    unsafe shadow.wrote(
      address, count: byteCount, processor(number).pointee.shadow, tables, slots, process)
  }

  /// Takes note that a walk of the guest's tables has set bits of a 4-byte entry.
  ///
  /// The caller is inside a quiet section or holds the operations lock, and holds no other lock.
  func markedShortEntry(at address: GuestPhysical) {
    guard configuration.mmu == .shadow else { return }
    shadow.marked(address, tables, slots, process.host)
  }

  /// Drops the shadow tables of a frame that would be trusted to follow its bytes, which have
  /// changed without a store of the guest's.
  ///
  /// The machine sees no write of the VMM's by itself, as KVM sees none: a table of the guest's
  /// that the VMM writes would be stale for ever. A VMM that writes one says so here.
  public func changedUnseen(_ frame: GuestFrame, sparing spared: UnseenChange = .outOfSync) {
    guard configuration.mmu == .shadow else { return }
    operations.lock()
    defer { operations.unlock() }
    shadow.changedUnseen(frame, sparing: spared, tables, slots, process.host)
    tables.reclaim(to: process.host)
  }

  // MARK: Memory

  /// Gives back at most `count` shadow pages, the oldest that no processor has for a root; how many
  /// went (KVM: `mmu_shrink_scan`).
  ///
  /// Direct tables have none to give.
  @discardableResult
  public func trim(_ count: Int) -> Int {
    operations.lock()
    defer { operations.unlock() }
    guard configuration.mmu == .shadow else { return 0 }
    let gone = shadow.trim(count, tables, slots, process.host)
    tables.reclaim(to: process.host)
    return gone
  }

  // MARK: Memslots

  func zapShadow() {
    shadow.invalidateAll(tables)
    // SAFETY: the board lives as long as the machine.
    unsafe board.pointee.requestOfAll(.freeObsoleteRoots)
    if !Mutation.slotDeleteLeavesTableShadows.isActive {
      shadow.zapObsolete(tables, slots, process.host)
    }
    tables.reclaim(to: process.host)
  }

  /// Makes the reverse map of a slot that is about to come.
  func makeReverseMap(for change: borrowing PreparedMemslotChange) {
    guard change.kind == .create || change.kind == .move, let slot = change.new else { return }
    tables.maps.make(
      MapRow(number: slot.metadata.row, base: slot.baseFrame), frames: slot.frameCount)
  }

  /// Frees the reverse map of a slot that has gone, and follows the number of pages with the limit
  /// on shadow pages.
  func freeReverseMap(of old: Memslot?, after kind: PreparedMemslotChange.Kind) {
    if kind == .delete || kind == .move, let slot = old {
      tables.lock.lockExclusive()
      tables.maps.free(MapRow(number: slot.metadata.row, base: slot.baseFrame))
      tables.lock.unlockExclusive()
    }
    guard configuration.shadowPageLimit == nil, kind == .create || kind == .delete else { return }
    var pages: UInt64 = 0
    for space in AddressSpace.allCases {
      var cursor = slots.slots(in: space)
      while let part = slots.next(&cursor) { pages += part.slot.frameCount }
    }
    shadow.setPageLimit(
      configuration.shadowPageLimit(forPages: pages), tables, slots, process.host)
  }
}
