import DirectMMU
public import HardwareModel
import HostMemory
import MachineEvents
import Mutations
import PageTables
public import PagingUnits
import ShadowMMU

/// What a processor does besides accesses.
extension VirtualMachine {
  /// The registers of a processor that take part in paging.
  ///
  /// Setting them flushes nothing: whoever executes the guest's instruction says what it flushes.
  public subscript(registersOf number: Int) -> ControlRegisters {
    // SAFETY: the processor is the caller's own.
    get { unsafe processor(number).pointee.registers }
    nonmutating set { unsafe processor(number).pointee.registers = newValue }
  }

  /// Says where a processor is, for tracepoints.
  public func setInstructionPointer(_ rip: UInt64, of number: Int) {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.instructionPointer = rip
  }

  /// Puts a processor into system-management mode or takes it out: it goes by other memslots.
  public func setAddressSpace(_ space: AddressSpace, of number: Int) {
    // SAFETY: the processor is the caller's own.
    guard unsafe processor(number).pointee.space != space else { return }
    unsafe processor(number).pointee.space = space
    if Mutation.smmFlagClearedMMUNotReset.isActive && space == .normal { return }
    if Mutation.setEventsTogglesSMMWithoutReset.isActive && space != .normal { return }
    dropRoot(number)
  }

  /// Which memslots a processor goes by.
  public func addressSpace(of number: Int) -> AddressSpace {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.space
  }

  /// Makes a processor's hardware forget what an instruction of the guest says.
  public func invalidate(_ number: Int, _ what: Invalidation) {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    if Mutation.invpcidFlushSkippedWithTDP.isActive {
      switch what {
      case .space, .allSpaces, .linearAddressIn: return
      default: break
      }
    }
    if configuration.mmu == .shadow { return invalidateShadow(number, what) }
    if case .linearAddress = what { unsafe processor.pointee.counters.add(to: .invlpg) }
    let registers = unsafe processor.pointee.registers
    unsafe processor.pointee.hardware.invalidate(what, registers)
  }

  /// Whether a processor outside, which caches translations of its own, has to forget all of them
  /// before it goes on; asking clears it.
  public func takeOutsideFlush(_ number: Int) -> Bool {
    // SAFETY: the board lives as long as the machine.
    unsafe board.pointee.takeOutsideFlush(number)
  }

  /// Makes a processor's hardware forget the translation in a place, as it may at any time between
  /// two accesses.
  public func evictTranslation(in place: Int, of number: Int) {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.evict(place)
  }

  /// Gives the tables that were set aside for a processor's next fault back, as a shrinker may
  /// between two accesses (KVM: `mmu_free_memory_caches`).
  public func drainTables(of number: Int) {
    // SAFETY: the processor is the caller's own.
    unsafe tables.drain(&processor(number).pointee.faultState.cache, to: process.host)
    // SAFETY: the processor is the caller's own.
    unsafe tables.drain(&processor(number).pointee.shadow.cache, to: process.host)
  }

  /// Serves what is asked of a processor, in KVM's order: roots first, then flushes (KVM:
  /// `vcpu_enter_guest`).
  func serveRequests(_ number: Int) {
    // SAFETY: the board lives as long as the machine; the processor is the caller's own.
    let requests = unsafe board.pointee.takeRequests(number)
    let processor = unsafe processor(number)
    if Mutation.prefaultIgnoresObsoleteRequest.isActive {
      if requests.contains(.flush) { flush(number) }
      return
    }
    if configuration.mmu == .shadow, requests.contains(.freeObsoleteRoots) {
      freeObsoleteShadow(number)
    }
    if requests.contains(.freeObsoleteRoots), unsafe processor.pointee.root != .none,
      unsafe direct.isObsolete(processor.pointee.root, tables)
    {
      dropRoot(number)
    }
    if requests.contains(.reloadRoots) { dropRoot(number) }
    if Mutation.flushRequestIgnored.isActive { return }
    if requests.contains(.flush) { flush(number) }
  }

  func flush(_ number: Int) {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    unsafe processor.pointee.hardware.invalidate(.everything, processor.pointee.registers)
    unsafe processor.pointee.counters.add(to: .tlb_flush)
  }

  func dropRoot(_ number: Int) {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    guard unsafe processor.pointee.root != .none else { return }
    // SAFETY: the processor is the caller's own.
    if !Mutation.rootReferenceLeaked.isActive {
      unsafe direct.putRoot(processor.pointee.root, tables)
    }
    unsafe processor.pointee.root = .none
    unsafe putSubpageRoot(processor)
    unsafe processor.pointee.faultState.mmio.forget()
    tables.reclaim(to: process.host)
  }

  /// Loads a root and flushes, as every new root needs (KVM: `kvm_mmu_load`); `false` when the host
  /// refuses memory.
  func loadRoot(_ number: Int) -> Bool {
    // SAFETY: the processor is the caller's own.
    let processor = unsafe processor(number)
    guard
      unsafe tables.topUp(&processor.pointee.faultState.cache, from: process.host) == .ready
    else { return false }
    let root = unsafe direct.root(
      of: processor.pointee.space, tables, &processor.pointee.faultState.cache)
    unsafe processor.pointee.root = root
    loadSubpageRoot(number)
    if Mutation.newRootNotFlushed.isActive { return true }
    flush(number)
    unsafe board.pointee.requestOutsideFlush(number)
    return true
  }
}
