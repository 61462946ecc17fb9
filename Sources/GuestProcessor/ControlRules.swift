import PagingUnits

/// The bits of control registers that the processor itself decides about.
enum ControlBits {
  static let pe: UInt64 = 1, et: UInt64 = 1 << 4, ts: UInt64 = 1 << 3
  static let nw: UInt64 = 1 << 29, cd: UInt64 = 1 << 30, pg: UInt64 = 1 << 31
  static let tsd: UInt64 = 1 << 2, pae: UInt64 = 1 << 5, la57: UInt64 = 1 << 12
  static let fsgsbase: UInt64 = 1 << 16, pcide: UInt64 = 1 << 17
  static let smep: UInt64 = 1 << 20, smap: UInt64 = 1 << 21, pke: UInt64 = 1 << 22
  static let sce: UInt64 = 1, lme: UInt64 = 1 << 8, lma: UInt64 = 1 << 10, nxe: UInt64 = 1 << 11
}

/// Which writes to control registers are illegal.
///
/// SDM volume 3A, "Control Registers", and volume 2B, "MOV—Move to/from Control Registers".
///
/// Unicorn executes several of them without complaint. The rules about the tables that CR3 points
/// to are the machine's.
struct ControlRules {
  var features: ProcessorFeatures

  /// The state after writing CR0; `nil` raises #GP(0).
  func writingCR0(
    _ value: UInt64, in old: ControlRegisters, codeSize: CodeSize
  ) -> ControlRegisters? {
    guard value >> 32 == 0 else { return nil }
    if value & ControlBits.nw != 0 && value & ControlBits.cd == 0 { return nil }
    if value & ControlBits.pg != 0 && value & ControlBits.pe == 0 { return nil }
    var new = old
    new.cr0 = value | ControlBits.et
    let wasOn = old.cr0 & ControlBits.pg != 0
    let isOn = value & ControlBits.pg != 0
    if !wasOn && isOn && old.efer & ControlBits.lme != 0 {
      guard old.cr4 & ControlBits.pae != 0, codeSize != .bits64 else { return nil }
      new.efer |= ControlBits.lma
    }
    if wasOn && !isOn {
      guard codeSize != .bits64, old.cr4 & ControlBits.pcide == 0 else { return nil }
      new.efer &= ~ControlBits.lma
    }
    return new
  }

  /// The state after writing CR3, and whether cached translations are kept; `nil` raises #GP(0).
  func writingCR3(
    _ value: UInt64, in old: ControlRegisters
  ) -> (new: ControlRegisters, keepsTranslations: Bool)? {
    var new = old
    var root = value
    var keeps = false
    if old.cr4 & ControlBits.pcide != 0 {
      keeps = value >> 63 != 0
      root &= ~(1 << 63)
    }
    if old.efer & ControlBits.lma != 0 {
      guard root >> UInt64(features.physicalAddressBits) == 0 else { return nil }
    }
    new.cr3 = root
    return (new, keeps)
  }

  /// The state after writing CR4; `nil` raises #GP(0).
  func writingCR4(_ value: UInt64, in old: ControlRegisters) -> ControlRegisters? {
    guard value & ~allowedCR4 == 0 else { return nil }
    let changed = value ^ old.cr4
    if old.efer & ControlBits.lma != 0 {
      if value & ControlBits.pae == 0 || changed & ControlBits.la57 != 0 { return nil }
    }
    if changed & value & ControlBits.pcide != 0 {
      guard old.efer & ControlBits.lma != 0, old.cr3 & 0xFFF == 0 else { return nil }
    }
    var new = old
    new.cr4 = value
    return new
  }

  /// The state after writing EFER; `nil` raises #GP(0).
  func writingEFER(_ value: UInt64, in old: ControlRegisters) -> ControlRegisters? {
    var allowed = ControlBits.sce | ControlBits.lme | ControlBits.lma
    if features.paging.contains(.executeDisable) { allowed |= ControlBits.nxe }
    guard value & ~allowed == 0 else { return nil }
    let changed = value ^ old.efer
    if changed & ControlBits.lme != 0 && old.cr0 & ControlBits.pg != 0 { return nil }
    var new = old
    new.efer = value & ~ControlBits.lma | old.efer & ControlBits.lma
    return new
  }

  /// The state after writing IA32_PAT; `nil` raises #GP(0).
  func writingPAT(_ value: UInt64, in old: ControlRegisters) -> ControlRegisters? {
    for index in 0..<8 as Range<UInt64> {
      switch value >> (8 * index) & 0xFF {
      case 0, 1, 4, 5, 6, 7: continue
      default: return nil
      }
    }
    var new = old
    new.pat = value
    return new
  }

  private var allowedCR4: UInt64 {
    // TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT, FSGSBASE.
    var bits: UInt64 = 0x7FC | ControlBits.fsgsbase
    if features.paging.contains(.fiveLevels) { bits |= ControlBits.la57 }
    if features.paging.contains(.processContexts) { bits |= ControlBits.pcide }
    if features.paging.contains(.supervisorExecutionPrevention) { bits |= ControlBits.smep }
    if features.paging.contains(.supervisorAccessPrevention) { bits |= ControlBits.smap }
    if features.paging.contains(.protectionKeys) { bits |= ControlBits.pke }
    return bits
  }
}
