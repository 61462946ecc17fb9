/// What one memory access does.
public enum AccessKind: UInt8, Hashable, Sendable, CaseIterable {
  /// A data read.
  case read
  /// A data write, or a read-modify-write.
  case write
  /// An instruction fetch.
  case fetch
}

/// On whose behalf an access is made.
///
/// SDM volume 3A, "Determination of Access Rights".
public enum Privilege: UInt8, Hashable, Sendable, CaseIterable {
  /// A user-mode access: CPL is 3.
  case user
  /// An explicit supervisor-mode access: CPL is below 3.
  case supervisor
  /// An implicit supervisor access (descriptor tables, TSS), whatever the CPL; EFLAGS.AC never
  /// exempts it from SMAP.
  case implicitSupervisor
}

/// What a translation permits, in the terms KVM accumulates on a walk (KVM: `ACC_*_MASK`).
///
/// In EPT-shaped tables `user` stands for "readable".
public struct AccessRights: OptionSet, Hashable, Sendable {
  /// The bits, KVM's values.
  public let rawValue: UInt8
  /// Wraps KVM's bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Instructions may be fetched.
  public static let execute = AccessRights(rawValue: 1)
  /// Data may be written.
  public static let write = AccessRights(rawValue: 2)
  /// User mode may reach the page; readable in EPT-shaped tables.
  public static let user = AccessRights(rawValue: 4)
  /// Everything (KVM: `ACC_ALL`).
  public static let all: AccessRights = [.execute, .write, .user]
}
