public import PagingUnits

/// What a Linux kernel's `VMCOREINFO` note tells about its own page tables.
///
/// The note is text, one `KEY=value` a line, written by the kernel for crash tools ("The kernel's
/// vmcoreinfo", Documentation/admin-guide/kdump/vmcoreinfo.rst).
public struct KernelNote: Hashable, Sendable {
  /// The virtual address of the kernel's top-level table (`swapper_pg_dir`, `init_top_pgt`).
  public var rootTable: UInt64?
  /// How far the kernel was loaded from where it was linked (`phys_base`).
  public var physicalBase: UInt64 = 0
  /// Whether the kernel walks five levels (`pgtable_l5_enabled`).
  public var hasFiveLevels = false

  /// Where an x86-64 kernel's text and data are linked (`__START_KERNEL_map`).
  private static let linkAddress: UInt64 = 0xFFFF_FFFF_8000_0000

  /// Reads the lines of a note; lines that say nothing about paging are skipped.
  init(_ text: FileBytes) {
    var line: UInt64 = 0
    while line < text.count {
      var end = line
      while end < text.count, text.byte(at: end) != 0x0A, text.byte(at: end) != 0 { end += 1 }
      read(text.slice(line, count: end - line))
      line = end + 1
    }
  }

  private mutating func read(_ line: FileBytes) {
    if let value = number(in: line, after: "SYMBOL(swapper_pg_dir)=", radix: 16) {
      rootTable = value
    } else if let value = number(in: line, after: "SYMBOL(init_top_pgt)=", radix: 16) {
      rootTable = value
    } else if let value = number(in: line, after: "NUMBER(phys_base)=", radix: 10) {
      physicalBase = value
    } else if let value = number(in: line, after: "NUMBER(pgtable_l5_enabled)=", radix: 10) {
      hasFiveLevels = value != 0
    }
  }

  /// The number after `key`; `nil` when the line has another key or no number.
  private func number(in line: FileBytes, after key: StaticString, radix: UInt64) -> UInt64? {
    guard line.spells(key, at: 0) else { return nil }
    var offset = UInt64(key.utf8CodeUnitCount)
    let isNegative = line.spells("-", at: offset)
    if isNegative { offset += 1 }
    guard offset < line.count, line.count - offset <= 20 else { return nil }
    var value: UInt64 = 0
    while offset < line.count {
      let digit: UInt64
      switch line.byte(at: offset) {
      case let byte where byte >= 0x30 && byte <= 0x39: digit = UInt64(byte - 0x30)
      case let byte where byte >= 0x61 && byte <= 0x66: digit = UInt64(byte - 0x61 + 10)
      default: return nil
      }
      guard digit < radix else { return nil }
      // Wrapping: a number beyond 64 bits is nonsense of the guest's, not a reason to stop.
      value = value &* radix &+ digit
      offset += 1
    }
    return isNegative ? 0 &- value : value
  }

  /// The registers with which the kernel itself walks, as far as the note knows: CR3, and CR4.LA57.
  public var registers: ControlRegisters? {
    guard let rootTable, rootTable >= Self.linkAddress else { return nil }
    var registers = ControlRegisters()
    registers.cr0 = 0x8005_0033
    // Wrapping: the sum is the guest's own word and a table that lies nowhere is an outcome.
    registers.cr3 = (rootTable &- Self.linkAddress &+ physicalBase) & ~0xFFF
    registers.cr4 = 0xA0 | (hasFiveLevels ? 1 << 12 : 0)
    registers.efer = 0xD00
    return registers
  }
}
