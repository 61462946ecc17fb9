public import PagingUnits

/// The bits of our own entries, as KVM 6.12 lays them out on a 64-bit host.
///
///     63      58 57 56 54 53:52 51          12 11 10  9  8  7  6 5:3 2 1 0
///     ┌──┬───┬──┬──┬──┬──┬─────┬──────────────┬──┬──┬──┬──┬──┬──┬───┬─┬─┬─┐
///     │sV│   │MW│HW│sX│sR│ A/D │ frame        │MP│  │D │A │PS│IP│mt │X│W│R│  EPT
///     │NX│   │  │  │  │  │type │ frame        │MP│MW│HW│  │PS│D │A  │U│W│P│  NPT
///     └──┴───┴──┴──┴──┴──┴─────┴──────────────┴──┴──┴──┴──┴──┴──┴───┴─┴─┴─┘
///
/// sV: suppress #VE; MP: MMU-present; MW: MMU-writable; HW: host-writable; sR, sX: rights saved
/// while an entry waits for access tracking. A test proves that the fields of each format share no
/// bit.
public enum SPTELayout {
  /// The frame, bits 51:12 in both formats; on a host that encrypts its memory, one of them says
  /// that it does, and is no part of the frame (`EntryEncoding.frame(of:)`).
  public static let frame = Field(12...51)
  static let frameMask: UInt64 = 0x000F_FFFF_FFFF_F000
  /// A processor may write.
  public static let write = Field(bit: 1)
  static let writeBit: UInt64 = 1 << 1
  /// The entry maps a large page.
  public static let pageSize = Field(bit: 7)
  static let pageSizeBit: UInt64 = 1 << 7
  /// The MMU calls the entry present (KVM: `SPTE_MMU_PRESENT_MASK`).
  public static let mmuPresent = Field(bit: 11)
  static let mmuPresentBit: UInt64 = 1 << 11
  /// How accessed and dirty bits are used (KVM: `SPTE_TDP_AD_MASK`), see `AccessedDirtyUse`.
  public static let accessedDirtyType = Field(52...53)
  static let accessedDirtyTypeShift: UInt64 = 52

  /// The fields that only EPT entries have.
  public enum EPT {
    /// Readable.
    public static let read = Field(bit: 0)
    /// Executable.
    public static let execute = Field(bit: 2)
    /// The memory type: 0 uncacheable, 6 write-back.
    public static let memoryType = Field(3...5)
    /// Ignore the guest's PAT.
    public static let ignorePAT = Field(bit: 6)
    /// Accessed, where the processor has it.
    public static let accessed = Field(bit: 8)
    /// Dirty, where the processor has it.
    public static let dirty = Field(bit: 9)
    /// The read right, saved while the entry waits for access tracking.
    public static let savedRead = Field(bit: 54)
    /// The sub-page bit, saved while the entry waits for access tracking or for its next write.
    public static let savedSubpages = Field(bit: 55)
    /// The execute right, saved while the entry waits for access tracking.
    public static let savedExecute = Field(bit: 56)
    /// The host's mapping may be written (KVM: `shadow_host_writable_mask`).
    public static let hostWritable = Field(bit: 57)
    /// The MMU may make the entry writable without a lock (KVM: `shadow_mmu_writable_mask`).
    public static let mmuWritable = Field(bit: 58)
    /// Writes that the entry refuses are judged by sub-pages; in a leaf of 4 KiB only.
    public static let subpages = Field(bit: 61)
    /// No virtualization exception.
    public static let suppressVE = Field(bit: 63)

    /// Every field of a present EPT entry, with those that all formats share.
    public static let all = [
      read, write, execute, memoryType, ignorePAT, pageSize, accessed, dirty, mmuPresent, frame,
      accessedDirtyType, savedRead, savedSubpages, savedExecute, hostWritable, mmuWritable,
      subpages, suppressVE,
    ]
  }

  /// The fields that only NPT (and legacy shadow) entries have.
  public enum NPT {
    /// Present.
    public static let present = Field(bit: 0)
    /// User mode may reach the page; always set under NPT, whose walks are user accesses.
    public static let user = Field(bit: 2)
    /// Accessed.
    public static let accessed = Field(bit: 5)
    /// Dirty.
    public static let dirty = Field(bit: 6)
    /// The host's mapping may be written.
    public static let hostWritable = Field(bit: 9)
    /// The MMU may make the entry writable without a lock.
    public static let mmuWritable = Field(bit: 10)
    /// Not executable.
    public static let noExecute = Field(bit: 63)

    /// Every field of a present NPT entry, with those that all formats share.
    public static let all = [
      present, write, user, accessed, dirty, pageSize, hostWritable, mmuWritable, mmuPresent,
      frame, accessedDirtyType, noExecute,
    ]
  }

  /// The fields of an entry that says "device" (KVM: `make_mmio_spte`).
  ///
  /// The generation's two halves lie around the address; `marker` is the whole of the bits that
  /// tell such an entry from every other.
  public enum MMIO {
    /// Bits 7:0 of the memslot generation.
    public static let generationLow = Field(3...10)
    /// Bits 18:8 of the memslot generation.
    public static let generationHigh = Field(52...62)
    /// The guest-physical address under EPT.
    public static let addressEPT = Field(12...51)
    /// The guest-physical address under NPT, below the reserved bit that makes the entry fault;
    /// that bit is 50 where 51 is the host's encryption bit.
    public static let addressNPT = Field(12...50)
    /// How many low bits of the generation an entry holds.
    public static let generationMask: UInt64 = (1 << 19) - 1
  }
}

/// How an entry's accessed and dirty bits are used (KVM: `SPTE_TDP_AD_*`).
public enum AccessedDirtyUse: UInt64, Hashable, Sendable {
  /// The processor keeps both bits.
  case enabled = 0
  /// The processor keeps neither: accesses are tracked by taking rights away.
  case disabled = 1
  /// The processor keeps both, but dirty logging goes by write protection.
  case writeProtectOnly = 2
}
