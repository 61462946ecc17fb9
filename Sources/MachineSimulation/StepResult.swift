public import MachineChecks
public import PagingUnits

/// What came of a step.
public enum StepResult: Hashable, Sendable {
  /// It was done.
  case done
  /// It was refused, with the name of KVM's or Linux's error number.
  case error(String)
  /// The guest gets an exception: "gp" (general protection).
  case exception(String)
  /// The access reached memory.
  case reached(ReachedMemory)
  /// The guest gets a page fault.
  case pageFault(errorCode: UInt32, address: GuestVirtual)
  /// The access left the guest, to whom: "mmio", "memory-fault", "stuck".
  case exit(ExitKind, GuestPhysical, value: UInt64?)
  /// The bytes that were read.
  case bytes(GuestBytes)
  /// Whether pages were used.
  case young(Bool)
  /// Statistics by KVM's names.
  case counters([String: Int64])
  /// Tracepoints, one line each.
  case tracepoints([String])
  /// An entry of ours.
  case entry(EntryView)
  /// An entry of the sub-page-permission tables.
  case subpageEntry(SubpageEntryView)
  /// Which sub-pages may be written, one word a page.
  case permissions([UInt32])
  /// Whether the TLB has the page.
  case kept(Bool)
  /// What the interleaved steps came to, sequence by sequence, and the first that came otherwise
  /// than expected.
  case interleaved(Interleaved)
  /// Something that must hold does not.
  case violation(Violation)

  /// Why an access left the guest.
  public enum ExitKind: String, Hashable, Sendable {
    /// A device, or a write to a read-only slot (KVM: `KVM_EXIT_MMIO`).
    case mmio
    /// The host cannot give the page (KVM: `KVM_RUN` fails with EFAULT, EHWPOISON or ENOMEM).
    case memoryFault = "memory-fault"
    /// A sub-page may not be written (KVM's posted series: `KVM_EXIT_SPP`).
    case subpageViolation = "spp-violation"
    /// The sub-page-permission tables could not be filled.
    case subpageMiss = "spp-miss"
    /// The sub-page-permission tables are malformed.
    case subpageMisconfiguration = "spp-misconfiguration"
    /// The access made no progress.
    case stuck
  }
}

/// An access that reached memory.
public struct ReachedMemory: Hashable, Sendable {
  /// The guest-physical address of the first byte.
  public var guestPhysical: GuestPhysical
  /// The host-physical address of the first byte.
  public var hostPhysical: HostPhysical
  /// The smallest page of the two dimensions, in bytes.
  public var pageBytes: UInt64
  /// What was read, up to 8 bytes, or written.
  public var value: UInt64
}

/// An entry of ours, decoded.
public struct EntryView: Hashable, Sendable {
  /// The bits.
  public var raw: UInt64
  /// The level of its table.
  public var level: Level
  /// Whether a processor would go on by it.
  public var isPresent: Bool
  /// Whether it maps a page.
  public var isLeaf: Bool
  /// Whether it permits writes.
  public var isWritable: Bool
  /// Whether it permits user-mode accesses; always, in tables of a second dimension.
  public var isUser: Bool
  /// Whether it permits fetches.
  public var isExecutable: Bool
  /// Whether it is marked accessed.
  public var isAccessed: Bool
  /// Whether it is marked dirty.
  public var isDirty: Bool
  /// The frame that it points to.
  public var frame: HostFrame
  /// Whether sub-pages judge the page's writes.
  public var isArmed = false
  /// Whether the bit that says so is set aside.
  public var isParked = false
}

/// What came of interleaved steps.
public struct Interleaved: Hashable, Sendable {
  /// The results, sequence by sequence.
  public var results: [[StepResult]]
  /// The decisions that were taken, one line each.
  public var history: [String]
}
