/// What CPUID tells the guest, and so what its control registers may hold.
public struct ProcessorFeatures: Hashable, Sendable {
  /// Whose processor the guest believes it runs on.
  public enum Vendor: Hashable, Sendable {
    case intel, amd
  }

  /// Paging features that a guest can find absent.
  public struct Paging: OptionSet, Hashable, Sendable {
    /// The bits, in no order that means anything.
    public let rawValue: UInt16
    /// Wraps the bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// 5-level paging (CR4.LA57).
    public static let fiveLevels = Paging(rawValue: 1)
    /// Protection keys for user pages (CR4.PKE).
    public static let protectionKeys = Paging(rawValue: 2)
    /// Supervisor-mode execution prevention (CR4.SMEP).
    public static let supervisorExecutionPrevention = Paging(rawValue: 4)
    /// Supervisor-mode access prevention (CR4.SMAP).
    public static let supervisorAccessPrevention = Paging(rawValue: 8)
    /// The execute-disable bit (EFER.NXE).
    public static let executeDisable = Paging(rawValue: 16)
    /// 1 GiB pages.
    public static let gigabytePages = Paging(rawValue: 32)
    /// Process-context identifiers and INVPCID (CR4.PCIDE).
    public static let processContexts = Paging(rawValue: 64)
    /// Everything.
    public static let all = Paging(rawValue: 127)
  }

  /// The vendor.
  public var vendor: Vendor
  /// MAXPHYADDR, 32…52.
  public var physicalAddressBits: UInt8
  /// The paging features.
  public var paging: Paging

  /// The features of a processor; traps when MAXPHYADDR lies outside 32…52.
  public init(vendor: Vendor = .intel, physicalAddressBits: UInt8 = 46, paging: Paging = .all) {
    precondition(32...52 ~= physicalAddressBits, "MAXPHYADDR is 32 to 52")
    self.vendor = vendor
    self.physicalAddressBits = physicalAddressBits
    self.paging = paging
  }

  /// The four registers that CPUID returns.
  public struct Leaf: Hashable, Sendable {
    /// EAX, EBX, ECX, EDX.
    public var a: UInt32 = 0, b: UInt32 = 0, c: UInt32 = 0, d: UInt32 = 0
  }

  /// What CPUID returns (SDM volume 2A, "CPUID"); `cr4` shows in the bits that mirror it.
  public func leaf(_ number: UInt32, subleaf: UInt32, cr4: UInt64) -> Leaf {
    switch number {
    case 0: Leaf(a: 7, b: vendorWords.0, c: vendorWords.2, d: vendorWords.1)
    case 1: featureLeaf
    case 7 where subleaf == 0: structuredLeaf(cr4: cr4)
    case 0x8000_0000:
      Leaf(a: 0x8000_0008, b: vendorWords.0, c: vendorWords.2, d: vendorWords.1)
    case 0x8000_0001: extendedLeaf
    case 0x8000_0007: Leaf(d: 1 << 8)
    case 0x8000_0008: Leaf(a: addressWidths)
    default: Leaf()
    }
  }

  private var vendorWords: (UInt32, UInt32, UInt32) {
    switch vendor {
    case .intel: (0x756E_6547, 0x4965_6E69, 0x6C65_746E)
    case .amd: (0x6874_7541, 0x6974_6E65, 0x444D_4163)
    }
  }

  /// FPU, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36, CLFSH,
  /// MMX, FXSR, SSE, SSE2.
  private static let baseFeatures: UInt32 = 0x078B_FBFD & ~(1 << 1)

  private var featureLeaf: Leaf {
    // SSE3, PCLMULQDQ, SSSE3, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, AES.
    var c: UInt32 = 1 | 1 << 1 | 1 << 9 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 25
    if paging.contains(.processContexts) { c |= 1 << 17 }
    return Leaf(
      a: vendor == .intel ? 0x0006_06A6 : 0x0083_0F10, b: 0x0001_0800, c: c,
      d: Self.baseFeatures)
  }

  private func structuredLeaf(cr4: UInt64) -> Leaf {
    // FSGSBASE, BMI1, BMI2, ERMS, ADX, CLFLUSHOPT, CLWB.
    var b: UInt32 = 1 | 1 << 3 | 1 << 8 | 1 << 9 | 1 << 19 | 1 << 23 | 1 << 24
    if paging.contains(.supervisorExecutionPrevention) { b |= 1 << 7 }
    if paging.contains(.processContexts) { b |= 1 << 10 }
    if paging.contains(.supervisorAccessPrevention) { b |= 1 << 20 }
    var c: UInt32 = 0
    if paging.contains(.protectionKeys) { c |= 1 << 3 }
    if cr4 & ControlBits.pke != 0 { c |= 1 << 4 }
    if paging.contains(.fiveLevels) { c |= 1 << 16 }
    return Leaf(b: b, c: c)
  }

  private var extendedLeaf: Leaf {
    // SYSCALL, RDTSCP, long mode.
    var d: UInt32 = 1 << 11 | 1 << 27 | 1 << 29
    if paging.contains(.executeDisable) { d |= 1 << 20 }
    if paging.contains(.gigabytePages) { d |= 1 << 26 }
    // AMD repeats most of leaf 1 here.
    if vendor == .amd { d |= Self.baseFeatures & 0x0183_F3FF }
    return Leaf(c: 1, d: d)
  }

  private var addressWidths: UInt32 {
    UInt32(physicalAddressBits) | (paging.contains(.fiveLevels) ? 57 : 48) << 8
  }
}
