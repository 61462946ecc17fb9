/// Which of the two sets of memslots an access goes by (KVM: `as_id`).
public enum AddressSpace: UInt8, Hashable, Sendable, CaseIterable {
  /// Everything but system-management mode.
  case normal = 0
  /// System-management mode.
  case systemManagement = 1
}
