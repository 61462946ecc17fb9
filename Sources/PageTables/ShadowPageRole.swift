public import PagingUnits

/// What kind of table a shadow page is; with the frame it covers, its identity (KVM:
/// `kvm_mmu_page_role`).
///
/// The word has the kernel's layout, because tracepoints record it:
///
///     31:24 smm     23:22 -       21 sub-pages    20:19 -         18 passthrough
///     17 guest mode 16 A/D off    15 SMAP & !WP   14 SMEP & !WP   13 CR0.WP
///     12 EFER.NX    11 invalid    10:8 access     7 direct        6:5 quadrant
///     4 4-byte gpte 3:0 level
public struct ShadowPageRole: Hashable, Sendable {
  /// The kernel's word.
  public private(set) var word: UInt32

  /// Wraps the kernel's word.
  public init(word: UInt32) { self.word = word }

  /// The role of a root of two-dimensional paging (KVM: `kvm_calc_tdp_mmu_root_page_role`).
  ///
  /// All rights, WP and NX on: so that every virtual processor of an address space shares it,
  /// whatever the guest's control registers say.
  public static func directRoot(
    level: Level, space: AddressSpace, accessedDirty: AccessedDirtyUse
  ) -> ShadowPageRole {
    var role = ShadowPageRole(word: 0)
    role.setBits(0, 4, UInt32(level.depth))
    role[bit: 7] = true
    role.setBits(8, 3, UInt32(AccessRights.all.rawValue))
    role[bit: 12] = true
    role[bit: 13] = true
    role[bit: 16] = accessedDirty == .disabled
    role.setBits(24, 8, UInt32(space.rawValue))
    return role
  }

  /// The role of a root of sub-page-permission tables (KVM's posted series: `role.spp`).
  ///
  /// Four levels whatever the depth of the extended page tables, and nothing of any processor's
  /// mode: every virtual processor of an address space shares the tables. The series' bit, 18, has
  /// since become the kernel's `passthrough`; this is one that the kernel does not use.
  public static func subpageRoot(of space: AddressSpace) -> ShadowPageRole {
    var role = ShadowPageRole(word: 0)
    role.setBits(0, 4, UInt32(Level.level4.depth))
    role[bit: 7] = true
    role[bit: 21] = true
    role.setBits(24, 8, UInt32(space.rawValue))
    return role
  }

  /// The role of a table one level below this one, of the same kind (KVM:
  /// `kvm_mmu_child_role`).
  public func child() -> ShadowPageRole {
    guard let below = level.below else { preconditionFailure("a level-1 table has no child") }
    var role = self
    role.setBits(0, 4, UInt32(below.depth))
    role[bit: 18] = false
    return role
  }

  /// The level of the table.
  public var level: Level { Level(Int(bits(0, 4))) }
  /// Whether no guest table stands behind it: a linear mapping.
  public var isDirect: Bool { self[bit: 7] }
  /// Whether its entries are of sub-page-permission tables, and no translations.
  public var isSubpageTable: Bool { self[bit: 21] }
  /// The rights accumulated above the table.
  public internal(set) var access: AccessRights {
    get { AccessRights(rawValue: UInt8(bits(8, 3))) }
    set { setBits(8, 3, UInt32(newValue.rawValue)) }
  }
  /// Whether accessed and dirty bits are not used in it.
  public var accessedDirtyDisabled: Bool { self[bit: 16] }
  /// How its entries use accessed and dirty bits.
  public var accessedDirty: AccessedDirtyUse { accessedDirtyDisabled ? .disabled : .enabled }
  /// Which memslots it maps.
  public var space: AddressSpace { bits(24, 8) == 0 ? .normal : .systemManagement }

  /// Whether it was zapped while somebody still used it.
  ///
  /// The bit is state, not identity; it lies in the word because the kernel's does.
  public var isInvalid: Bool {
    get { self[bit: 11] }
    set { self[bit: 11] = newValue }
  }

  // Always inlined: a fault asks a role some twenty times, and each entry to the guest makes one.
  @inline(__always) func bits(_ shift: UInt32, _ width: UInt32) -> UInt32 {
    (word >> shift) & (1 << width - 1)
  }

  /// One of the word's flags.
  @inline(__always) subscript(bit shift: UInt32) -> Bool {
    get { bits(shift, 1) == 1 }
    set { setBits(shift, 1, newValue ? 1 : 0) }
  }

  @inline(__always) mutating func setBits(_ shift: UInt32, _ width: UInt32, _ value: UInt32) {
    let mask: UInt32 = (1 << width - 1) << shift
    word = (word & ~mask) | (value << shift)
  }
}
