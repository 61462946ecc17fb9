import Mutations
public import PagingUnits

/// What only the tables of shadow paging use of a role.
extension ShadowPageRole {
  /// The role of a table that shadows nothing yet: every right and no other bit (KVM: the start of
  /// `kvm_calc_cpu_role`).
  ///
  /// * `space`: which memslots it maps.
  public static func shadow(of space: AddressSpace) -> ShadowPageRole {
    var role = ShadowPageRole(word: 0)
    role.access = .all
    role.setBits(24, 8, UInt32(space.rawValue))
    return role
  }

  /// The number of the table's level; 0 in the role of a guest whose paging is off.
  public var depth: Int {
    get { Int(bits(0, 4)) }
    set { setBits(0, 4, UInt32(newValue)) }
  }

  /// Whether the guest's table has 1024 entries of 4 bytes (KVM: `has_4_byte_gpte`).
  public var hasShortEntries: Bool {
    get { self[bit: 4] }
    set { self[bit: 4] = newValue }
  }

  /// Which part of a guest's table of 4-byte entries the table covers, 0…3.
  ///
  /// A shadow table has half the entries, and above level 1 each of them covers half as much.
  public var quadrant: Int {
    get { Int(bits(5, 2)) }
    set { setBits(5, 2, UInt32(newValue)) }
  }

  /// Whether no guest's table stands behind it.
  public var mapsLinearly: Bool {
    get { isDirect }
    set { self[bit: 7] = newValue }
  }

  /// EFER.NX, or forced.
  public var hasNoExecute: Bool {
    get { self[bit: 12] }
    set { self[bit: 12] = newValue }
  }

  /// CR0.WP.
  public var respectsWriteProtection: Bool {
    get { self[bit: 13] }
    set { self[bit: 13] = newValue }
  }

  /// CR4.SMEP while CR0.WP is 0 (KVM: `smep_andnot_wp`).
  ///
  /// A user page that was made a supervisor's, so that the supervisor may write to it, must not be
  /// executed by the supervisor.
  public var preventsExecutionWithoutWP: Bool {
    get { self[bit: 14] }
    set { self[bit: 14] = newValue }
  }

  /// CR4.SMAP while CR0.WP is 0 (KVM: `smap_andnot_wp`).
  public var preventsAccessWithoutWP: Bool {
    get { self[bit: 15] }
    set { self[bit: 15] = newValue }
  }

  /// Whether the guest's own guest walks it (KVM: `guest_mode`).
  public var isGuestMode: Bool {
    get { self[bit: 17] }
    set { self[bit: 17] = newValue }
  }

  /// Whether it stands above the guest's real root and has no guest's table behind it (KVM:
  /// `passthrough`).
  public var isPassthrough: Bool {
    get { self[bit: 18] }
    set { self[bit: 18] = newValue }
  }

  /// Whether bit 7 of the guest's entries means nothing: 4-byte entries without CR4.PSE.
  ///
  /// KVM keeps this out of the role, so that a guest that toggles PSE meets shadow pages made by
  /// the other reading. The bit is one that the kernel does not use.
  public var ignoresPageSize: Bool {
    get { self[bit: 19] }
    set { self[bit: 19] = newValue }
  }

  /// Whether bit 63 of the guest's entries is reserved: 8-byte entries without EFER.NX.
  ///
  /// KVM keeps this out of the role too, where NX is forced. The bit is one that the kernel does
  /// not use.
  public var reservesNoExecute: Bool {
    get { self[bit: 20] }
    set { self[bit: 20] = newValue }
  }

  /// Whether a guest's table stands behind it, entry by entry (KVM: `sp_has_gptes`).
  public var hasGuestEntries: Bool { !isDirect && !isPassthrough }

  /// What of the role all tables of a tree share: not level, rights, quadrant or passthrough.
  public var treeWord: UInt32 { word & ~(0xF | 3 << 5 | 7 << 8 | 1 << 11 | 1 << 18) }

  /// The role of a table under an entry of this one (KVM: `kvm_mmu_child_role`).
  ///
  /// * `access`: the rights accumulated above it.
  /// * `content`: whether a guest's table stands behind it.
  /// * `index`: which of the 512 entries leads to it.
  public func child(
    _ access: AccessRights, _ content: TableContent, at index: Int
  ) -> ShadowPageRole {
    var role = child()
    role.access = access
    role.mapsLinearly = content == .linear
    role.quadrant =
      hasShortEntries && !(Mutation.quadrantOfPageTablesLost.isActive && role.depth == 1)
      ? Self.quadrant(ofChildAt: index, level: role.level) : 0
    return role
  }

  /// What a shadow table is made from.
  public enum TableContent: Hashable, Sendable {
    /// A table of the guest's.
    case guestTable
    /// Nothing: consecutive frames.
    case linear
  }

  /// The quadrant of a table of `level` under entry `index`: the bits of an address that shadow
  /// tables have consumed above it and the guest's, with 10 bits a level, have not.
  private static func quadrant(ofChildAt index: Int, level: Level) -> Int {
    switch level.depth {
    case 1: index & 1
    case 2: index & 3
    default: 0
    }
  }

  /// The quadrant of the table of `level` that translates an address of a guest with 4-byte
  /// entries.
  public static func quadrant(of address: GuestVirtual, at level: Level) -> Int {
    let depth = UInt64(level.depth)
    return Int(truncatingIfNeeded: (address.raw >> (12 + 9 * depth)) & (1 << depth - 1))
  }
}
