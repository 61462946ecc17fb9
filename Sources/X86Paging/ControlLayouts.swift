public import PagingUnits

/// The bits of CR0 that paging knows (SDM volume 3A, "Control Registers").
public enum CR0Layout {
  /// Protected mode (PE).
  public static let protection = Field(bit: 0)
  /// Supervisor writes respect read-only pages (WP).
  public static let writeProtect = Field(bit: 16)
  /// Not write-through (NW).
  public static let notWriteThrough = Field(bit: 29)
  /// Caches disabled (CD).
  public static let cacheDisable = Field(bit: 30)
  /// Paging (PG).
  public static let paging = Field(bit: 31)
}

/// The bits of CR4 that paging knows (SDM volume 3A, "Control Registers").
public enum CR4Layout {
  /// 4 MiB pages in 32-bit paging (PSE).
  public static let pageSizeExtensions = Field(bit: 4)
  /// 8-byte entries (PAE).
  public static let physicalAddressExtension = Field(bit: 5)
  /// Global pages (PGE).
  public static let globalPages = Field(bit: 7)
  /// Five levels in long mode (LA57).
  public static let fiveLevels = Field(bit: 12)
  /// Process-context identifiers (PCIDE).
  public static let contextIdentifiers = Field(bit: 17)
  /// Supervisor-mode execution prevention (SMEP).
  public static let executionPrevention = Field(bit: 20)
  /// Supervisor-mode access prevention (SMAP).
  public static let accessPrevention = Field(bit: 21)
  /// Protection keys for user pages (PKE).
  public static let protectionKeys = Field(bit: 22)
}

/// The bits of IA32_EFER that paging knows (SDM volume 3A, "Extended Feature Enable Register").
public enum EFERLayout {
  /// Long mode enabled (LME).
  public static let longModeEnable = Field(bit: 8)
  /// Long mode active (LMA): LME and CR0.PG.
  public static let longModeActive = Field(bit: 10)
  /// Execute-disable bit enabled (NXE).
  public static let noExecute = Field(bit: 11)
}
