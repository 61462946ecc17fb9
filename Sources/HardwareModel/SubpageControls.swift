/// What a hypervisor's control structure says of sub-page write permissions (SDM volume 3C,
/// "Secondary Processor-Based VM-Execution Controls", "Sub-Page-Permission-Table Pointer").
public struct SubpageControls: Hashable, Sendable {
  /// The execution control "sub-page write permissions for EPT".
  public var isEnabled = false
  /// The SPPTP field: the host-physical address of the level-4 table.
  public var pointer: UInt64 = 0

  /// The control is 0.
  public init() {}

  /// The control is 1, with the table of level 4 at an address.
  public init(pointer: UInt64) {
    isEnabled = true
    self.pointer = pointer
  }

  /// The bit of the secondary processor-based controls.
  public static var controlBit: UInt64 { 1 << 23 }
  /// The encoding of the whole SPPTP field; its high half has the number above.
  public static var pointerField: UInt32 { 0x2030 }
  /// The basic reason of an exit for an SPP-related event.
  public static var exitReason: UInt64 { 66 }

  /// What VMWRITE of one of the two encodings does, in 64-bit mode; `false` for another field.
  public mutating func write(_ value: UInt64, field: UInt32) -> Bool {
    switch field {
    case Self.pointerField: pointer = value
    case Self.pointerField + 1: pointer = pointer & 0xFFFF_FFFF | value << 32
    default: return false
    }
    return true
  }

  /// What VMREAD of one of the two encodings gives; `nil` for another field.
  public func read(field: UInt32) -> UInt64? {
    switch field {
    case Self.pointerField: pointer
    case Self.pointerField + 1: pointer >> 32
    default: nil
    }
  }

  /// Why VM entry fails with these controls: VMfailValid with error 7, "VM entry with invalid
  /// control fields".
  public enum EntryFailure: Hashable, Sendable {
    /// The processor does not have the control.
    case unsupported
    /// EPT is not in use.
    case withoutEPT
    /// The pointer is not that of a page in reach of MAXPHYADDR.
    case pointer

    /// What the VM-instruction error field says.
    public var instructionError: UInt64 { 7 }
  }

  /// Why VM entry fails, if it does (SDM volume 3C, "VM-Execution Control Fields"); with the
  /// control 0 the pointer is not looked at.
  public func entryFailure(
    through dimension: SecondDimension, _ features: ProcessorFeatures
  ) -> EntryFailure? {
    guard isEnabled else { return nil }
    guard features.hasSubpagePermissions else { return .unsupported }
    guard dimension.isEPT else { return .withoutEPT }
    return pointer & 0xFFF != 0 || pointer >> features.physicalBits != 0 ? .pointer : nil
  }
}

/// What of the instruction under way an exit tells.
public struct InstructionContext: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt8
  /// Wraps the bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// An IRET that has lifted the blocking of NMIs.
  public static let unblocksNMI = InstructionContext(rawValue: 1)
  /// An event is being delivered: IDT-vectoring information is valid.
  public static let deliversEvent = InstructionContext(rawValue: 2)
  /// NMIs exit, and there are no virtual NMIs.
  public static let exitsForNMI = InstructionContext(rawValue: 4)

  /// Bit 12 of a qualification, "NMI unblocking due to IRET", where it is defined (SDM volume 3C,
  /// "Exit Qualification for EPT Violations").
  var qualification: UInt64 { self == .unblocksNMI ? 1 << 12 : 0 }
}
