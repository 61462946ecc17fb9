/// Where a saved context keeps the state that no register number reaches.
///
/// The library's own layout is private and changes between versions, so every offset is found by
/// experiment when a processor is made (`Calibration`), and the processor is refused when an
/// experiment does not show exactly one place.
struct ContextLayout: Hashable {
  /// RAX; the other general registers follow.
  var registers = 0
  /// The hidden flags: the privilege level in bits 0 and 1, and how code is decoded.
  var hiddenFlags = 0
  /// ES; CS, SS, DS, FS and GS follow, 24 bytes each.
  var segments = 0
  /// The error code of the last exception that has one.
  var errorCode = 0
  /// 1 when the last exception was an INT instruction.
  var isSoftware = 0
  /// The vector of the last contributory exception, or -1; it would turn the next into a double
  /// fault.
  var remembered = 0
  /// PKRU.
  var pkru = 0

  /// Hidden flags of 32-bit code, 64-bit code, a 32-bit stack, segments with a base, and the
  /// instruction after STI or MOV SS.
  var code32: UInt32 = 0, code64: UInt32 = 0, stack32: UInt32 = 0
  var segmentBases: UInt32 = 0, shadow: UInt32 = 0

  /// What a context keeps for one segment register.
  enum Segment: Int {
    case es = 0
    case cs, ss, ds, fs, gs
  }

  static let segmentStride = 24
  static let nothingRemembered = UInt32.max

  /// The offset of the selector; base, limit and attributes follow it.
  func offset(of segment: Segment) -> Int {
    segments + segment.rawValue * Self.segmentStride
  }
}

/// A segment register with its hidden part (SDM volume 3A, "Segment Registers").
struct LoadedSegment: Hashable {
  var selector: UInt16
  var base: UInt64
  var limit: UInt32
  /// The descriptor's upper word: type, S, DPL, P, L, D/B and G at their places.
  var attributes: UInt32

  var isLong: Bool { attributes & 1 << 21 != 0 }
  var isBig: Bool { attributes & 1 << 22 != 0 }
}

extension SavedContext {
  /// Reads a segment register.
  func segment(_ segment: ContextLayout.Segment, _ layout: ContextLayout) -> LoadedSegment {
    let offset = layout.offset(of: segment)
    return LoadedSegment(
      selector: UInt16(truncatingIfNeeded: self[word: offset]), base: self[long: offset + 8],
      limit: self[word: offset + 16], attributes: self[word: offset + 20])
  }

  /// Writes a segment register; the hidden flags are the caller's to set.
  func setSegment(
    _ segment: ContextLayout.Segment, to value: LoadedSegment, _ layout: ContextLayout
  ) {
    let offset = layout.offset(of: segment)
    self[word: offset] = UInt32(value.selector)
    self[long: offset + 8] = value.base
    self[word: offset + 16] = value.limit
    self[word: offset + 20] = value.attributes
  }

  /// Sets the hidden flags that follow from the code segment, the stack segment and the privilege
  /// level, as the processor's own loads would.
  func setExecutionState(privilegeLevel: UInt8, _ layout: ContextLayout) {
    let code = segment(.cs, layout)
    let stack = segment(.ss, layout)
    var flags = self[word: layout.hiddenFlags]
    flags &= ~(3 | layout.code32 | layout.code64 | layout.stack32)
    flags &= ~(layout.segmentBases | layout.shadow)
    flags |= UInt32(privilegeLevel)
    if code.isLong {
      flags |= layout.code64 | layout.code32 | layout.stack32
    } else {
      if code.isBig { flags |= layout.code32 }
      if stack.isBig { flags |= layout.stack32 }
      let bases =
        stack.base | segment(.ds, layout).base | segment(.es, layout).base
      if bases != 0 || !code.isBig { flags |= layout.segmentBases }
    }
    self[word: layout.hiddenFlags] = flags
  }
}
