public import DirectMMU
public import HardwareModel
public import PagingUnits

/// What came of one access of a virtual processor.
public enum AccessOutcome: Sendable {
  /// The access reaches host memory.
  case translated(Translation)
  /// The guest gets a page fault with this error code; CR2 is the address.
  case pageFault(errorCode: UInt32)
  /// The address is not canonical: the guest gets #GP, or #SS for a stack access.
  case generalProtection
  /// Nothing but a device, or a read-only slot that was to be written, is at this address: the
  /// access is the VMM's to perform (KVM: `KVM_EXIT_MMIO`).
  case device(GuestPhysical)
  /// The access writes to a page that holds a table of the guest's, as shadow paging has to know:
  /// whoever made the access performs the write at the translation's place, and says so with
  /// `stored`.
  case tableStore(Translation)
  /// The write touches a sub-page that may not be written (KVM's posted series: `KVM_EXIT_SPP`): it
  /// has not been performed, and the translation says where it would go.
  case subpageRefused(Translation)
  /// The sub-page-permission tables have nothing about the address and could not be filled, which
  /// only the defects of KVM's posted series bring about (`KVM_RUN` fails with EFAULT).
  case subpageMiss(GuestPhysical)
  /// The sub-page-permission tables are malformed, which is a mistake of ours (KVM's posted series:
  /// `KVM_EXIT_UNKNOWN` with hardware reason 66).
  case subpageMisconfiguration(GuestPhysical)
  /// The host cannot give the page (KVM: `KVM_RUN` fails).
  case failed(FaultOutcome.HostFailure, GuestPhysical)
  /// The access kept coming back without progress, which is a mistake of the machine's maker or
  /// of ours; see `MachineConfiguration.retryLimit`.
  case stuck(GuestPhysical)
}
