/// The model-specific registers that neither the engine nor the port keeps.
struct ModelSpecificRegisters {
  /// Who keeps a register.
  enum Home: Hashable {
    /// The engine, because its instructions use it.
    case engine
    case efer, pat, timestamp
    /// The table here.
    case here
    /// The port; usually nobody.
    case port
  }

  static func home(of index: UInt32) -> Home {
    switch index {
    case 0xC000_0080: .efer
    case 0x277: .pat
    case 0x10: .timestamp
    // SYSENTER's three; STAR, LSTAR, CSTAR, SFMASK; FS, GS and kernel GS base; TSC_AUX.
    case 0x174...0x176, 0xC000_0081...0xC000_0084, 0xC000_0100...0xC000_0103: .engine
    // APIC base, feature control, BIOS signature, MTRRs, machine check, miscellaneous enables.
    case 0x1B, 0x3A, 0x8B, 0xFE, 0x200...0x20F, 0x250, 0x258, 0x259, 0x268...0x26F, 0x2FF, 0x179,
      0x17A, 0x1A0, 0xCE, 0x140:
      .here
    default: .port
    }
  }

  /// Whether the register takes canonical addresses only (SDM volume 2D, "WRMSR").
  static func holdsAddress(_ index: UInt32) -> Bool {
    switch index {
    case 0x175, 0x176, 0xC000_0082, 0xC000_0083, 0xC000_0100, 0xC000_0101, 0xC000_0102: true
    default: false
    }
  }

  private var values: [UInt32: UInt64] = [
    // Enabled, bootstrap processor, at its usual address.
    0x1B: 0xFEE0_0900,
    // Locked, without VMX.
    0x3A: 1,
    // Write-back by default, MTRRs enabled; eight variable ranges.
    0x2FF: 0xC06, 0xFE: 0x508,
    // Fast strings.
    0x1A0: 1,
  ]
  var timestampOffset: UInt64 = 0

  subscript(index: UInt32) -> UInt64 { values[index] ?? 0 }

  /// Writes a register; `false` raises #GP(0).
  mutating func write(_ index: UInt32, _ value: UInt64) -> Bool {
    switch index {
    // The capabilities are read-only, and the feature control register is locked.
    case 0xFE, 0x179, 0xCE, 0x3A: return false
    // x2APIC mode is not offered, and the local APIC stays where it is.
    case 0x1B where value & 0x400 != 0 || value & ~0xFFF != 0xFEE0_0000: return false
    default: break
    }
    values[index] = value
    return true
  }
}
