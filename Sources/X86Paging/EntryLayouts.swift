public import PagingUnits

/// The bits of a 4-byte entry of 32-bit paging (SDM volume 3A, "32-Bit Paging").
///
///     31        22 21 20            13 12 11  9  8  7  6  5  4  3  2  1  0
///     ┌───────────┬──┬────────────────┬──┬─────┬──┬──┬──┬──┬──┬──┬──┬──┬──┐
///     │ frame     │0 │ 39:32          │pT│     │G │1 │D │A │cD│wT│U │W │P │  4 MiB page
///     │ frame                         │  │     │G │pT│D │A │cD│wT│U │W │P │  4 KiB page
///     │ frame                         │  │     │  │0 │  │A │cD│wT│U │W │P │  table
///     └───────────────────────────────┴──┴─────┴──┴──┴──┴──┴──┴──┴──┴──┴──┘
public enum Bits32Layout {
  /// The frame of a table or of a 4 KiB page.
  public static let frame = Field(12...31)
  /// The frame of a 4 MiB page, bits 31:22 of its address.
  public static let largeFrame = Field(22...31)
  /// Bits 39:32 of a 4 MiB page's address (PSE-36), as far as MAXPHYADDR goes.
  public static let highFrame = Field(13...20)
  /// The PAT bit of a 4 MiB page.
  public static let largePAT = Field(bit: 12)
  /// The bit of a 4 MiB page that is always reserved.
  public static let largeReserved = Field(bit: 21)

  /// The reserved bits of a 4 MiB page: bit 21, and the address bits beyond MAXPHYADDR (SDM volume
  /// 3A, "32-Bit Paging": M is the lesser of 40 and MAXPHYADDR).
  ///
  /// KVM takes MAXPHYADDR for 36 here whatever CPUID says.
  public static func largeReserved(_ features: PagingFeatures) -> UInt64 {
    let extra = min(40, features.physicalBits) &- 32
    let kept = ((1 as UInt64) &<< extra &- 1) &<< 13
    return largeReserved.mask | (highFrame.mask & ~kept)
  }

  /// The fields of an entry for a 4 MiB page.
  public static let largePage =
    GuestEntryLayout.flags + [largePAT, highFrame, largeReserved, largeFrame]
  /// The fields of an entry for a 4 KiB page.
  public static let page = GuestEntryLayout.flags + [frame]
}

/// The bits of an 8-byte entry of PAE, 4-level and 5-level paging and of NPT (SDM volume 3A,
/// "4-Level Paging and 5-Level Paging"; APM volume 2, "Long-Mode Page Translation").
///
///     63 62  59 58 52 51               12 11   9  8  7  6  5  4  3  2  1  0
///     ┌──┬─────┬─────┬───────────────────┬──────┬──┬──┬──┬──┬──┬──┬──┬──┬──┐
///     │NX│ key │     │ frame             │      │G │PS│D │A │cD│wT│U │W │P │
///     └──┴─────┴─────┴───────────────────┴──────┴──┴──┴──┴──┴──┴──┴──┴──┴──┘
///
/// Bit 12 of an entry for a large page is its PAT bit; the bits from there to the page's size are
/// reserved. In a level-1 entry bit 7 is the PAT bit.
public enum GuestEntryLayout {
  /// The entry is in use.
  public static let present = Field(bit: 0)
  /// Writes are allowed.
  public static let write = Field(bit: 1)
  /// User mode is allowed.
  public static let user = Field(bit: 2)
  /// Page-level write-through.
  public static let writeThrough = Field(bit: 3)
  /// Page-level cache disable.
  public static let cacheDisable = Field(bit: 4)
  /// The entry was used.
  public static let accessed = Field(bit: 5)
  /// The page was written.
  public static let dirty = Field(bit: 6)
  /// The entry maps a large page; in a level-1 entry, the PAT bit.
  public static let pageSize = Field(bit: 7)
  /// The translation survives a change of CR3.
  public static let global = Field(bit: 8)
  /// The frame of a table or a page.
  public static let frame = Field(12...51)
  /// The protection key.
  public static let protectionKey = Field(59...62)
  /// Fetches are not allowed.
  public static let noExecute = Field(bit: 63)

  /// The flags that 4- and 8-byte entries share.
  public static let flags = [
    present, write, user, writeThrough, cacheDisable, accessed, dirty, pageSize, global,
  ]
  /// The fields of an 8-byte entry.
  public static let all = flags + [frame, protectionKey, noExecute]
}

/// The bits of an EPT entry (SDM volume 3C, "EPT Translation Mechanism").
///
///     63 62      52 51               12 11 10  9  8  7  6 5   3  2  1  0
///     ┌──┬─────────┬───────────────────┬──┬──┬──┬──┬──┬──┬─────┬──┬──┬──┐
///     │sV│         │ frame             │  │  │D │A │PS│IP│ mt  │X │W │R │
///     └──┴─────────┴───────────────────┴──┴──┴──┴──┴──┴──┴─────┴──┴──┴──┘
public enum EPTEntryLayout {
  /// Reads are allowed.
  public static let read = Field(bit: 0)
  /// Writes are allowed.
  public static let write = Field(bit: 1)
  /// Fetches are allowed.
  public static let execute = Field(bit: 2)
  /// The memory type of a page: 0, 1, 4, 5 and 6 exist.
  public static let memoryType = Field(3...5)
  /// The guest's PAT is ignored.
  public static let ignorePAT = Field(bit: 6)
  /// The entry maps a large page.
  public static let pageSize = Field(bit: 7)
  /// The entry was used, where the pointer enables it.
  public static let accessed = Field(bit: 8)
  /// The page was written, where the pointer enables it.
  public static let dirty = Field(bit: 9)
  /// The frame of a table or a page.
  public static let frame = Field(12...51)
  /// Sub-pages judge the writes to a 4 KiB page that the entries do not permit, where that is
  /// switched on.
  public static let subpageWrites = Field(bit: 61)
  /// Violations cause exits, never virtualization exceptions.
  public static let suppressVE = Field(bit: 63)

  /// The fields of an entry.
  public static let all = [
    read, write, execute, memoryType, ignorePAT, pageSize, accessed, dirty, frame, subpageWrites,
    suppressVE,
  ]
}

/// The bits of an EPT pointer (SDM volume 3C, "Extended-Page-Table Pointer").
public enum EPTPointerLayout {
  /// The memory type of the tables: 0 or 6.
  public static let memoryType = Field(0...2)
  /// The number of levels minus 1: 3 or 4.
  public static let walkLength = Field(3...5)
  /// Accessed and dirty bits are in use.
  public static let accessedDirty = Field(bit: 6)
  /// The frame of the root.
  public static let frame = Field(12...51)

  /// The fields of a pointer.
  public static let all = [memoryType, walkLength, accessedDirty, frame]
}
