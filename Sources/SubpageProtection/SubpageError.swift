public import PagingUnits

/// Why sub-page protection refuses what a VMM asks (KVM's posted series, version 12: the errors of
/// `KVM_CAP_X86_SPP` and of its two ioctls).
public enum SubpageError: Error, Hashable, Sendable {
  /// The processor lacks the feature, or guest-physical addresses go through no extended page
  /// tables (KVM: -ENODEV).
  case unsupported
  /// The machine may run guests of its guest, which the series does not go together with (KVM:
  /// -EPERM); see `SubpageQuirks.exclusiveWithNested`.
  case nested
  /// It was not switched on (KVM: -ENODEV).
  case notEnabled
  /// Some flag is set, and none is known (KVM: -EINVAL).
  case flags(UInt32)
  /// More pages than one call may name (KVM: -EINVAL).
  case tooManyPages(Int)
  /// No slot holds the frame, or its slot can have no map (KVM: -EFAULT); what came before the
  /// frame was done.
  case noMap(GuestFrame)
  /// The sub-page-permission tables, which have four levels, do not tell the frame from a lower
  /// one; what came before it was done.
  case beyondTables(GuestFrame)
}
