/// The registers of a virtual processor that take part in paging, as raw words.
///
/// This is data only: what the bits mean is said in `X86Paging`, and said again, independently, in
/// `HardwareModel`.
public struct ControlRegisters: Hashable, Sendable {
  /// CR0.
  public var cr0: UInt64
  /// CR2, the address of the last page fault.
  public var cr2: UInt64
  /// CR3, without the no-flush bit 63.
  public var cr3: UInt64
  /// CR4.
  public var cr4: UInt64
  /// IA32_EFER.
  public var efer: UInt64
  /// IA32_PAT.
  public var pat: UInt64
  /// PKRU, the user protection-key rights.
  public var pkru: UInt32
  /// The current privilege level, 0…3.
  public var cpl: UInt8
  /// EFLAGS.AC: 1 when explicit supervisor accesses are exempt from SMAP.
  public var ac: Bool
  /// The cached PDPTE registers of PAE paging (SDM volume 3A, "PDPTE Registers").
  public var pdptes: InlineArray<4, UInt64>

  /// The state after reset as far as paging goes: protection and paging off.
  public init() {
    cr0 = 0x10
    cr2 = 0
    cr3 = 0
    cr4 = 0
    efer = 0
    pat = 0x0007_0406_0007_0406
    pkru = 0
    cpl = 0
    ac = false
    pdptes = .init(repeating: 0)
  }

  /// Compares every register.
  public static func == (left: Self, right: Self) -> Bool {
    guard
      left.cr0 == right.cr0, left.cr2 == right.cr2, left.cr3 == right.cr3,
      left.cr4 == right.cr4, left.efer == right.efer, left.pat == right.pat,
      left.pkru == right.pkru, left.cpl == right.cpl, left.ac == right.ac
    else { return false }
    for index in 0..<4 where left.pdptes[index] != right.pdptes[index] { return false }
    return true
  }

  /// Feeds every register that `==` compares.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(cr0)
    hasher.combine(cr3)
    hasher.combine(cr4)
    hasher.combine(efer)
    hasher.combine(pkru)
    hasher.combine(cpl)
  }
}
