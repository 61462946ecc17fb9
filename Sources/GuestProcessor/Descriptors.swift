/// An interrupt or trap gate of the IDT (SDM volume 3A, "IDT Descriptors").
struct Gate: Hashable {
  var low: UInt64
  var high: UInt64

  var selector: UInt16 { UInt16(truncatingIfNeeded: low >> 16) }
  var offset: UInt64 {
    let word = low & 0xFFFF | low >> 32 & 0xFFFF_0000 | high << 32
    return is32Bit ? word : word & 0xFFFF
  }
  /// The gate's type with the S bit: E and F are 32- or 64-bit interrupt and trap gates.
  var type: UInt8 { UInt8(truncatingIfNeeded: low >> 40) & 0x1F }
  var is32Bit: Bool { type & 8 != 0 }
  var masksInterrupts: Bool { type & 1 == 0 }
  var privilegeLevel: UInt16 { UInt16(truncatingIfNeeded: low >> 45) & 3 }
  var isPresent: Bool { low >> 47 & 1 != 0 }
  /// The index in the interrupt stack table, 1…7, or 0.
  var stackTable: UInt8 { UInt8(truncatingIfNeeded: low >> 32) & 7 }
}

/// A code or data segment descriptor (SDM volume 3A, "Segment Descriptors").
struct Descriptor: Hashable {
  var word: UInt64

  private func bit(_ number: UInt64) -> Bool { word >> number & 1 != 0 }

  var isAccessed: Bool { bit(40) }
  var isCode: Bool { bit(44) && bit(43) }
  var isConforming: Bool { bit(42) }
  var isWritableData: Bool { bit(44) && !bit(43) && bit(41) }
  var isPresent: Bool { bit(47) }
  var isLong: Bool { bit(53) }
  var isBig: Bool { bit(54) }
  var privilegeLevel: UInt8 { UInt8(truncatingIfNeeded: word >> 45) & 3 }

  var base: UInt64 { word >> 16 & 0xFF_FFFF | word >> 32 & 0xFF00_0000 }
  /// The last valid offset.
  var limit: UInt32 {
    let units = UInt32(truncatingIfNeeded: word & 0xFFFF | word >> 32 & 0xF_0000)
    return bit(55) ? units << 12 | 0xFFF : units
  }

  /// The segment register after a load with privilege `level`.
  func loaded(_ selector: UInt16, _ level: UInt8, keepsLong: Bool = true) -> LoadedSegment {
    // The L bit means nothing outside IA-32e mode.
    let longBit: UInt32 = keepsLong ? 0 : 1 << 21
    let attributes = UInt32(truncatingIfNeeded: word >> 32) & ~longBit | 1 << 8
    return LoadedSegment(
      selector: selector & ~3 | UInt16(level), base: base, limit: limit, attributes: attributes)
  }
}
