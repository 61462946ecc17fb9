public import MachineEvents
import Mutations
public import PagingUnits

/// What an entry of ours says under this encoding.
extension EntryEncoding {
  /// The host frame that the entry maps or points to.
  public func frame(of entry: SPTE) -> HostFrame { HostFrame((entry.raw & frameMask) >> 12) }

  /// What lies behind a present leaf, as far as the entry says.
  public func backing(of entry: SPTE) -> LeafRequest.Backing {
    entry.raw & memory == memory ? .memory : .device
  }

  /// How the entry's accessed and dirty bits are used.
  public func accessedDirtyUse(of entry: SPTE) -> AccessedDirtyUse {
    // The two bits are written by `leaf` and `table` only, which write one of three values.
    AccessedDirtyUse(rawValue: (entry.raw >> SPTELayout.accessedDirtyTypeShift) & 0b11) ?? .enabled
  }

  /// Whether the processor keeps the entry's accessed bit.
  public func usesAccessedBit(_ entry: SPTE) -> Bool { accessedDirtyUse(of: entry) != .disabled }

  /// Whether writes to the page are told by its dirty bit and not by write protection.
  public func usesDirtyBit(_ entry: SPTE) -> Bool { accessedDirtyUse(of: entry) == .enabled }

  /// Whether the entry lost its rights to see the next access (KVM: `is_access_track_spte`).
  public func isAccessTracked(_ entry: SPTE) -> Bool {
    !usesAccessedBit(entry) && entry.raw & trackedRights == 0
  }

  /// Whether the page was accessed since its accessed state was last cleared.
  public func isAccessed(_ entry: SPTE) -> Bool {
    usesAccessedBit(entry) ? entry.raw & accessed != 0 : !isAccessTracked(entry)
  }

  /// Whether the page may have been written since its dirty state was last cleared.
  public func isDirty(_ entry: SPTE) -> Bool {
    // Without dirty bits whatever a processor may write counts as written, in part or in whole.
    usesDirtyBit(entry) && dirty != 0
      ? entry.raw & dirty != 0
      : entry.isWritable || (isArmed(entry) && !Mutation.armedLeafNeverDirty.isActive)
  }

  /// Whether instructions may be fetched through the entry now.
  public func isExecutable(_ entry: SPTE) -> Bool {
    entry.raw & (execute | noExecute) == execute
  }

  /// Whether data may be read through the entry now.
  public func isReadable(_ entry: SPTE) -> Bool {
    format == .ept ? entry.raw & user != 0 : entry.raw & present != 0
  }

  /// Whether the MMU may make the entry writable without a lock.
  public func isMMUWritable(_ entry: SPTE) -> Bool { entry.raw & mmuWritable != 0 }

  /// Whether slot and host mapping may be written.
  public func isHostWritable(_ entry: SPTE) -> Bool { entry.raw & hostWritable != 0 }

  /// Whether a present entry permits this access now (KVM: `is_access_allowed`).
  public func allows(_ kind: AccessKind, _ entry: SPTE) -> Bool {
    switch kind {
    case .read: isReadable(entry)
    case .write: entry.isWritable
    case .fetch: isExecutable(entry)
    }
  }

  /// Whether another processor may change the entry behind a lock holder's back, so that it must
  /// be replaced in one atomic step (KVM: `spte_has_volatile_bits`).
  public func hasVolatileBits(_ entry: SPTE) -> Bool {
    if !entry.isWritable && isMMUWritable(entry) { return true }
    if isAccessTracked(entry) || isParked(entry) { return true }
    guard usesAccessedBit(entry) else { return false }
    // A write that sub-pages let through sets the dirty bit of an entry that is not writable.
    let maySetDirty = entry.isWritable || isArmed(entry)
    return entry.raw & accessed == 0 || (maySetDirty && dirty != 0 && entry.raw & dirty == 0)
  }

  /// The rights as `kvm_mmu_set_spte` prints them.
  public func rights(of entry: SPTE) -> SPTERights {
    var rights: SPTERights = []
    if isReadable(entry) { rights.insert(.read) }
    if entry.isWritable { rights.insert(.write) }
    if isExecutable(entry) { rights.insert(.execute) }
    if entry.raw & user != 0 { rights.insert(.user) }
    return rights
  }

  // MARK: Devices

  /// Whether the entry says "device" (KVM: `is_mmio_spte`).
  public func isMMIO(_ entry: SPTE) -> Bool {
    if Mutation.mmioMaskOverlapsGeneration.isActive {
      return cachesMMIO && entry.raw & (mmioMask | 1 << 5) == mmioValue
    }
    return cachesMMIO && entry.raw & mmioMask == mmioValue
  }

  /// The memslot generation that a device entry was made in, its low 19 bits.
  public func mmioGeneration(of entry: SPTE) -> UInt64 {
    SPTELayout.MMIO.generationLow.value(in: entry.raw)
      | SPTELayout.MMIO.generationHigh.value(in: entry.raw) << 8
  }

  /// The frame that a device entry stands for.
  public func mmioFrame(of entry: SPTE) -> GuestFrame {
    GuestFrame((entry.raw & mmioAddress) >> 12)
  }

  /// The rights that a device entry remembers, KVM's bits; none under EPT.
  public func mmioAccess(of entry: SPTE) -> UInt64 { entry.raw & mmioAccess }
}
