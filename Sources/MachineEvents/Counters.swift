import Synchronization

/// A statistic of a machine, by KVM's own name (KVM: `kvm_vm_stats_desc`).
public enum MachineCounter: UInt8, Hashable, Sendable, CaseIterable {
  /// Remote flushes that had to reach at least one processor.
  case remote_tlb_flush
  /// Remote flushes asked for.
  case remote_tlb_flush_requests
  /// Shadow pages prepared for zapping.
  case mmu_shadow_zapped
  /// Emulated writes looked at for guest tables.
  case mmu_pte_write
  /// Upper-level entries cleared by such writes.
  case mmu_pde_zapped
  /// Shadow pages zapped for flooding or misaligned writes.
  case mmu_flooded
  /// Shadow pages zapped to stay within the limit.
  case mmu_recycled
  /// Look-ups of a shadow page that had to make one.
  case mmu_cache_miss
  /// Shadow pages that are out of sync now.
  case mmu_unsync
  /// Present 4 KiB leaf entries now.
  case pages_4k
  /// Present 2 MiB leaf entries now.
  case pages_2m
  /// Present 1 GiB leaf entries now.
  case pages_1g
  /// Tables now that stand where the NX mitigation forbade a huge page.
  case nx_lpage_splits
  /// The most entries that one frame ever had.
  case max_mmu_rmap_size
  /// The most strangers met in one hash bucket.
  case max_mmu_page_hash_collisions
}

/// A statistic of a virtual processor, by KVM's own name (KVM: `kvm_vcpu_stats_desc`).
public enum ProcessorCounter: UInt8, Hashable, Sendable, CaseIterable {
  /// Faults past the fast path for devices.
  case pf_taken
  /// Faults that installed or repaired an entry.
  case pf_fixed
  /// Faults that left the access to be emulated.
  case pf_emulate
  /// Faults that found nothing to do.
  case pf_spurious
  /// Faults repaired, or found spurious, without a lock.
  case pf_fast
  /// Entries that now say "device".
  case pf_mmio_spte_created
  /// Page faults delivered to the guest.
  case pf_guest
  /// Flushes of this processor.
  case tlb_flush
  /// INVLPG instructions.
  case invlpg
  /// Exits from the guest.
  case exits
  /// Exits for an I/O port.
  case io_exits
  /// Exits for a device address.
  case mmio_exits
  /// Exits for HLT.
  case halt_exits
  /// Instructions performed for the guest.
  case insn_emulation
}

/// A row of 32 statistics that several threads add to.
@safe public struct CounterRow: ~Copyable, @unchecked Sendable {
  private let values: UnsafeMutablePointer<Atomic<Int64>>

  /// Every statistic at 0.
  public init() {
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe values = .allocate(capacity: 32)
    for index in 0..<32 {
      // SAFETY: the index lies inside the allocation.
      unsafe (values + index).initialize(to: Atomic(0))
    }
  }

  deinit { unsafe values.deallocate() }

  private func value(_ index: UInt8) -> UnsafeMutablePointer<Atomic<Int64>> {
    precondition(index < 32, "a row has 32 statistics")
    // SAFETY: the index was checked.
    return unsafe values + Int(index)
  }

  /// Adds `amount`, which may be negative, to a machine's statistic.
  public func add(_ amount: Int64 = 1, to counter: MachineCounter) {
    // SAFETY: `value` is in bounds.
    unsafe value(counter.rawValue).pointee.wrappingAdd(amount, ordering: .relaxed)
  }

  /// Adds `amount` to a processor's statistic.
  public func add(_ amount: Int64 = 1, to counter: ProcessorCounter) {
    // SAFETY: `value` is in bounds.
    unsafe value(counter.rawValue).pointee.wrappingAdd(amount, ordering: .relaxed)
  }

  /// Raises a machine's peak to `peak` if it was lower.
  public func raise(_ counter: MachineCounter, to peak: Int64) {
    // SAFETY: `value` is in bounds.
    unsafe value(counter.rawValue).pointee.max(peak, ordering: .relaxed)
  }

  /// A machine's statistic.
  public func value(of counter: MachineCounter) -> Int64 {
    // SAFETY: `value` is in bounds.
    unsafe value(counter.rawValue).pointee.load(ordering: .relaxed)
  }

  /// A processor's statistic.
  public func value(of counter: ProcessorCounter) -> Int64 {
    // SAFETY: `value` is in bounds.
    unsafe value(counter.rawValue).pointee.load(ordering: .relaxed)
  }
}
