import Mutations
import PagingUnits

/// How this machine spells its own entries: masks chosen once, from the processor's vendor and
/// features (KVM: the `shadow_*_mask` globals, as one value).
public struct EntryEncoding: Hashable, Sendable {
  /// Which processor walks the tables.
  public enum Format: UInt8, Hashable, Sendable {
    /// Intel's extended page tables.
    case ept
    /// AMD's nested page tables, in the format of 4- and 5-level paging.
    case npt
    /// Shadow tables, in the format of PAE, 4- and 5-level paging: a guest's processor walks them
    /// in the place of the guest's own.
    case shadow
  }

  /// Which processor walks the tables.
  public let format: Format
  /// Whether the processor keeps accessed and dirty bits; always under NPT.
  public let hasAccessedDirty: Bool
  /// The host's MAXPHYADDR, 32…52.
  public let physicalBits: UInt8
  /// Whether slot-less addresses are remembered in entries (KVM: `enable_mmio_caching`).
  ///
  /// Under NPT it needs a reserved physical-address bit, so it is off with 52 bits, and with 51
  /// where the last one is the encryption bit.
  public let cachesMMIO: Bool
  /// The bits of an entry that hold the frame.
  let frameMask: UInt64

  /// What a leaf has besides when memory lies behind it, and no device.
  let memory: UInt64
  let present: UInt64
  let user: UInt64
  let execute: UInt64
  let noExecute: UInt64
  let accessed: UInt64
  let dirty: UInt64
  let hostWritable: UInt64
  let mmuWritable: UInt64
  let trackedRights: UInt64
  let mmioMask: UInt64
  let mmioValue: UInt64
  let mmioAccess: UInt64

  /// Extended page tables.
  ///
  /// * `accessedDirty`: whether the processor keeps A and D bits in EPT.
  /// * `executeOnly`: whether a page may be executable and not readable.
  /// * `physicalBits`: the host's MAXPHYADDR, 32…52.
  public static func ept(
    accessedDirty: AccessedDirtySupport, executeOnly: ExecuteOnlySupport, physicalBits: Int
  ) -> EntryEncoding {
    EntryEncoding(
      ept: accessedDirty, executeOnly: executeOnly, physicalBits: physicalBits)
  }

  /// Nested page tables.
  ///
  /// * `physicalBits`: the host's MAXPHYADDR, 32…52.
  /// * `encryptionBit`: the bit of an address that says that memory is encrypted, from MAXPHYADDR
  ///   to 51; `nil` where none is.
  public static func npt(physicalBits: Int, encryptionBit: Int? = nil) -> EntryEncoding {
    EntryEncoding(.npt, longPhysicalBits: physicalBits, encryptionBit)
  }

  /// Shadow tables; the parameters are those of nested page tables.
  ///
  /// So are the bits, but that the user bit tells user pages from the supervisor's. Bits 62:52 stay
  /// clear in entries that PAE paging walks, where they are reserved.
  public static func shadow(physicalBits: Int, encryptionBit: Int? = nil) -> EntryEncoding {
    EntryEncoding(.shadow, longPhysicalBits: physicalBits, encryptionBit)
  }

  /// Whether a processor keeps accessed and dirty bits in EPT.
  public enum AccessedDirtySupport: Hashable, Sendable { case present, absent }
  /// Whether a processor knows pages that are executable and not readable.
  public enum ExecuteOnlySupport: Hashable, Sendable { case present, absent }

  private init(
    ept accessedDirty: AccessedDirtySupport, executeOnly: ExecuteOnlySupport, physicalBits: Int
  ) {
    Self.check(physicalBits)
    format = .ept
    hasAccessedDirty = accessedDirty == .present
    self.physicalBits = UInt8(physicalBits)
    cachesMMIO = true
    frameMask = SPTELayout.frameMask
    // Write-back, and without devices that bypass the caches the guest's PAT is ignored (quirk
    // IGNORE_GUEST_PAT, on by default); a device is uncacheable.
    memory = 6 << 3 | 1 << 6
    let read = SPTELayout.EPT.read.mask
    present = SPTELayout.EPT.suppressVE.mask | (executeOnly == .present ? 0 : read)
    user = read
    execute = SPTELayout.EPT.execute.mask
    noExecute = 0
    accessed = hasAccessedDirty ? SPTELayout.EPT.accessed.mask : 0
    dirty = hasAccessedDirty ? SPTELayout.EPT.dirty.mask : 0
    hostWritable = SPTELayout.EPT.hostWritable.mask
    mmuWritable = SPTELayout.EPT.mmuWritable.mask
    trackedRights = 0b111
    // Writable, executable and not readable: a misconfiguration on every EPT.
    mmioMask = SPTELayout.EPT.suppressVE.mask | 0b111
    mmioValue = 0b110
    mmioAccess = 0
  }

  private init(_ format: Format, longPhysicalBits physicalBits: Int, _ encryptionBit: Int?) {
    Self.check(physicalBits)
    let encrypted: UInt64
    if let encryptionBit {
      precondition(
        physicalBits <= encryptionBit && encryptionBit < 52,
        "the encryption bit lies above every bit of an address")
      encrypted = 1 << UInt64(encryptionBit)
    } else {
      encrypted = 0
    }
    frameMask = SPTELayout.frameMask & ~encrypted
    memory = encrypted
    self.format = format
    hasAccessedDirty = true
    self.physicalBits = UInt8(physicalBits)
    let marker: UInt64 = encrypted == 1 << 51 ? 50 : 51
    cachesMMIO = physicalBits <= marker || Mutation.mmioMarkerWithoutReservedBits.isActive
    present = SPTELayout.NPT.present.mask
    user = SPTELayout.NPT.user.mask
    execute = 0
    noExecute = SPTELayout.NPT.noExecute.mask
    accessed = SPTELayout.NPT.accessed.mask
    dirty = SPTELayout.NPT.dirty.mask
    hostWritable = SPTELayout.NPT.hostWritable.mask
    mmuWritable = SPTELayout.NPT.mmuWritable.mask
    trackedRights = 0
    // A physical-address bit that the processor does not have: a reserved-bit fault.
    mmioMask = 1 << marker | present
    mmioValue = 1 << marker | present
    mmioAccess = SPTELayout.write.mask | user
  }

  /// The bit of an entry that says that the memory to which it leads is encrypted; 0 on a host that
  /// encrypts none (KVM: `shadow_me_value`).
  public var encryption: UInt64 { SPTELayout.frameMask & ~frameMask }

  /// The bits of a device entry that hold the guest-physical address.
  var mmioAddress: UInt64 {
    format == .ept
      ? SPTELayout.MMIO.addressEPT.mask
      : SPTELayout.MMIO.addressNPT.mask & frameMask & ~mmioMask
  }

  private static func check(_ physicalBits: Int) {
    precondition(32...52 ~= physicalBits, "MAXPHYADDR is 32 to 52 bits")
  }
}
