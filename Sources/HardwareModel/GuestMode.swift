import PagingUnits

/// The guest's paging mode and rules, read from its registers (SDM volume 3A, "Paging Modes and
/// Control Bits").
///
/// It is made anew when a control register has changed, and read by every access.
struct GuestMode {
  private let cr0: UInt64
  private let cr4: UInt64
  private let efer: UInt64
  /// The number of levels: 0 with paging off, 2, 3, 4 or 5.
  let levels: Int
  /// Whether walks may go straight: in 64-bit modes, where memory is not encrypted.
  let goesStraight: Bool
  /// Whether entries can forbid execution; 32-bit entries have no bit for it, whatever EFER says.
  let noExecute: Bool
  /// What tells translations of one mode from those of another.
  let digest: UInt16
  /// What the entries of 64-bit modes must look like.
  let rules: TableRules
  let need: TableNeed
  /// Who may do what, without protection keys.
  private(set) var permissions = PermissionWords()

  init(
    _ registers: borrowing ControlRegisters, _ features: ProcessorFeatures,
    _ encryptionMask: UInt64
  ) {
    cr0 = registers.cr0
    cr4 = registers.cr4
    efer = registers.efer
    if cr0 & 1 << 31 == 0 {
      levels = 0
    } else if cr4 & 1 << 5 == 0 {
      levels = 2
    } else if efer & 1 << 10 == 0 {
      levels = 3
    } else {
      levels = cr4 & 1 << 12 != 0 ? 5 : 4
    }
    goesStraight = levels >= 4 && encryptionMask == 0
    noExecute = efer & 1 << 11 != 0 && levels >= 3
    digest = UInt16(levels) | (noExecute ? 8 : 0) | (cr4 & 1 << 4 != 0 ? 16 : 0)
    rules = TableRules(guest: features)
    need = TableNeed(
      all: EntryBits.present | EntryBits.accessed,
      none: EntryBits.beyond(features.guestPhysicalBits) | (noExecute ? 0 : EntryBits.noExecute))
    permissions = PermissionWords { permits($0, $1, $2) }
  }

  /// Whether the registers still say what this was made from.
  @inline(__always) func isCurrent(_ registers: borrowing ControlRegisters) -> Bool {
    (cr0 ^ registers.cr0) | (cr4 ^ registers.cr4) | (efer ^ registers.efer) == 0
  }

  var writeProtect: Bool { cr0 & 1 << 16 != 0 }
  var pageSizeExtension: Bool { cr4 & 1 << 4 != 0 }
  var globalPages: Bool { cr4 & 1 << 7 != 0 }
  var smep: Bool { cr4 & 1 << 20 != 0 }
  var smap: Bool { cr4 & 1 << 21 != 0 }
  var protectionKeys: Bool { cr4 & 1 << 22 != 0 && levels >= 4 }

  /// The bits of an address that are translated: all of them in 64-bit modes.
  @inline(__always) func linear(_ address: UInt64) -> UInt64 {
    levels >= 4 ? address : address & 0xFFFF_FFFF
  }

  /// The current PCID; 0 without CR4.PCIDE.
  @inline(__always) func pcid(_ registers: borrowing ControlRegisters) -> UInt16 {
    cr4 & 1 << 17 != 0 ? UInt16(truncatingIfNeeded: registers.cr3 & 0xFFF) : 0
  }

  /// Whether 64-bit addresses are in use and this one is not canonical.
  @inline(__always) func isNonCanonical(_ address: UInt64) -> Bool {
    guard levels >= 4 else { return false }
    let unused: Int64 = levels == 5 ? 7 : 16
    return UInt64(bitPattern: (Int64(bitPattern: address) &<< unused) &>> unused) != address
  }
}
