import Mutations
public import PagingUnits

/// Everything that decides a walk except the tables: computed once from the control registers and
/// read by every walk after.
///
/// Rules are a value. They are recomputed when a control register changes, compared with a
/// stranger's by the self-check, and one of them can be spoilt on purpose to see that the check
/// notices.
public struct WalkRules: Sendable {
  /// The geometry of entries.
  public var format: EntryFormat
  /// The level of the topmost entries; 0 when there are no tables.
  public var rootDepth: Int
  /// Whether the topmost entries are the PDPTE registers of PAE paging.
  public var hasPDPTERegisters: Bool
  /// How many low bits of an address are translated.
  public var addressBits: UInt64
  /// Whether addresses must be canonical; otherwise the upper half is cut off.
  public var requiresCanonical: Bool
  /// The bits that must be 0.
  public var reserved: ReservedBits
  /// Who may do what.
  public var permissions: PermissionTable
  /// Whether an error code says that the access was a fetch: NXE or SMEP; always for EPT.
  public var reportsFetch: Bool

  /// The rules of a guest's own tables.
  ///
  /// * `registers`: CR0, CR4 and EFER are read, nothing else.
  /// * `features`: the guest's processor.
  public init(_ registers: borrowing ControlRegisters, features: PagingFeatures) {
    let mode = PagingMode(registers)
    let largePages = CR4Layout.pageSizeExtensions.isSet(in: registers.cr4)
    let controls = Self.controls(registers, mode)
    format = mode == .bits32 ? .bits32(largePages: largePages, features: features) : .long
    rootDepth = mode.rootLevel.map { Int($0.depth) } ?? 0
    hasPDPTERegisters = mode == .pae
    addressBits = mode.linearBits
    requiresCanonical = mode.isLong
    reserved = ReservedBits(
      mode: mode, features: features, noExecute: controls.contains(.noExecute),
      largePages: largePages)
    permissions = PermissionTable(controls)
    reportsFetch =
      controls.contains(.noExecute) || controls.contains(.executionPrevention)
  }

  /// The rules of EPT-shaped tables that a guest made for its own guest.
  ///
  /// * `pointer`: the EPT pointer; its walk length and accessed/dirty bit are read.
  /// * `features`: the guest's processor.
  public init(eptPointer pointer: UInt64, features: PagingFeatures) {
    format = .ept(accessedDirty: EPTPointerLayout.accessedDirty.isSet(in: pointer))
    rootDepth = EPTPointerLayout.walkLength.value(in: pointer) == 4 ? 5 : 4
    hasPDPTERegisters = false
    addressBits = rootDepth == 5 ? 57 : 48
    requiresCanonical = false
    reserved = ReservedBits(ept: features)
    permissions = PermissionTable(ept: ())
    reportsFetch = true
  }

  /// The control bits that permissions depend on.
  public static func controls(
    _ registers: borrowing ControlRegisters, _ mode: PagingMode
  ) -> PermissionTable.Controls {
    var controls: PermissionTable.Controls = []
    if CR0Layout.writeProtect.isSet(in: registers.cr0) { controls.insert(.writeProtect) }
    if Mutation.cr0WPGuestOwnedStale.isActive { controls.insert(.writeProtect) }
    // 4-byte entries have no execute-disable bit, and fetches are not told apart there either (SDM
    // volume 3A, "Page-Fault Error Codes"; KVM sets the fetch bit whenever EFER.NXE is 1).
    let noExecute = EFERLayout.noExecute.isSet(in: registers.efer)
    if mode != .bits32 && noExecute { controls.insert(.noExecute) }
    if CR4Layout.executionPrevention.isSet(in: registers.cr4) {
      controls.insert(.executionPrevention)
    }
    if CR4Layout.accessPrevention.isSet(in: registers.cr4) { controls.insert(.accessPrevention) }
    let keys = CR4Layout.protectionKeys.isSet(in: registers.cr4)
    if mode.isLong && keys { controls.insert(.protectionKeys) }
    return controls
  }

  /// The level of the topmost entries; `nil` when there are no tables.
  public var rootLevel: Level? { rootDepth == 0 ? nil : Level(rootDepth) }

  /// Whether `address` may be used at all: canonical where that is required.
  public func accepts(_ address: GuestVirtual) -> Bool {
    if Mutation.canonicalUnchecked.isActive { return true }
    return !requiresCanonical || address.isCanonical(width: addressBits)
  }
}
