/// How code is decoded: by the code segment's size.
enum CodeSize: Hashable {
  case bits16, bits32, bits64
}

/// The bytes at an instruction pointer, as many as could be read, at most 15.
struct InstructionBytes {
  private var bytes: InlineArray<16, UInt8> = .init(repeating: 0)
  private(set) var count = 0

  mutating func append(_ byte: UInt8) {
    guard count < 15 else { return }
    bytes[count] = byte
    count += 1
  }

  subscript(index: Int) -> UInt8? { index < count ? bytes[index] : nil }
}

/// As much of an instruction as the processor around Unicorn has to understand: prefixes, opcode,
/// and the operand in memory (SDM volume 2A, "Instruction Format").
struct Instruction: Hashable {
  /// The opcode map.
  enum Map: Hashable {
    case oneByte, twoByte, threeByte38, threeByte3A
  }

  /// An operand in memory: base + index × scale + displacement.
  struct MemoryOperand: Hashable {
    var base: UInt8?
    var index: UInt8?
    var scale: UInt8 = 0
    var displacement: Int64 = 0
    var isRelativeToNext = false
    /// The segment register by its encoding: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS.
    var segment: UInt8 = 3
  }

  var map = Map.oneByte
  var opcode: UInt8 = 0
  var hasOperandSizePrefix = false
  /// The address size in bytes.
  var addressSize = 4
  /// ModRM's three fields, REX included.
  var mod: UInt8 = 0, reg: UInt8 = 0, rm: UInt8 = 0
  /// The segment that a prefix names, by its encoding.
  var segmentOverride: UInt8?
  /// Whether a REX.W prefix makes the operand 64 bits wide.
  var isWide = false
  /// The operand in memory, for an opcode that has a ModRM byte.
  var memory: MemoryOperand?
  /// Up to and including the opcode.
  var lengthToOpcode = 0
  /// Up to and including ModRM, SIB and displacement.
  var lengthToDisplacement = 0

  /// Decodes the front of an instruction; `nil` when the bytes end too soon.
  ///
  /// ModRM is decoded whether the opcode has one or not: whoever asks knows the opcode.
  init?(_ bytes: InstructionBytes, _ size: CodeSize) {
    var position = 0
    var rex: UInt8 = 0
    var segment: UInt8?
    var hasAddressSizePrefix = false
    prefixes: while let byte = bytes[position] {
      switch byte {
      case 0x66: hasOperandSizePrefix = true
      case 0x67: hasAddressSizePrefix = true
      case 0xF0, 0xF2, 0xF3: break
      case 0x26: segment = 0
      case 0x2E: segment = 1
      case 0x36: segment = 2
      case 0x3E: segment = 3
      case 0x64: segment = 4
      case 0x65: segment = 5
      case 0x40...0x4F where size == .bits64:
        rex = byte
        position += 1
        break prefixes
      default: break prefixes
      }
      position += 1
    }
    guard let first = bytes[position] else { return nil }
    position += 1
    opcode = first
    if first == 0x0F {
      guard let second = bytes[position] else { return nil }
      position += 1
      map = .twoByte
      opcode = second
      if second == 0x38 || second == 0x3A {
        guard let third = bytes[position] else { return nil }
        position += 1
        map = second == 0x38 ? .threeByte38 : .threeByte3A
        opcode = third
      }
    }
    lengthToOpcode = position
    lengthToDisplacement = position
    segmentOverride = segment
    isWide = rex & 8 != 0
    addressSize = Self.addressSize(size, isOverridden: hasAddressSizePrefix)
    decodeOperands(bytes, rex: rex, segment: segment, isLong: size == .bits64)
  }

  private static func addressSize(_ size: CodeSize, isOverridden: Bool) -> Int {
    switch size {
    case .bits64: isOverridden ? 4 : 8
    case .bits32: isOverridden ? 2 : 4
    case .bits16: isOverridden ? 4 : 2
    }
  }

  private mutating func decodeOperands(
    _ bytes: InstructionBytes, rex: UInt8, segment: UInt8?, isLong: Bool
  ) {
    var position = lengthToOpcode
    guard let modRM = bytes[position] else { return }
    position += 1
    mod = modRM >> 6
    reg = (modRM >> 3) & 7 | (rex & 4) << 1
    rm = modRM & 7 | (rex & 1) << 3
    lengthToDisplacement = position
    guard mod != 3, addressSize != 2 else { return }
    var operand = MemoryOperand()
    operand.base = rm
    if modRM & 7 == 4 {
      guard let sib = bytes[position] else { return }
      position += 1
      operand.scale = sib >> 6
      let index = (sib >> 3) & 7 | (rex & 2) << 2
      operand.index = index == 4 ? nil : index
      operand.base = sib & 7 | (rex & 1) << 3
      if sib & 7 == 5 && mod == 0 { operand.base = nil }
    } else if modRM & 7 == 5 && mod == 0 {
      operand.base = nil
      operand.isRelativeToNext = isLong
    }
    let count = mod == 1 ? 1 : (mod == 2 || operand.base == nil ? 4 : 0)
    var displacement: UInt64 = 0
    for index in 0..<count {
      guard let byte = bytes[position] else { return }
      displacement |= UInt64(byte) << UInt64(8 * index)
      position += 1
    }
    operand.displacement =
      switch count {
      case 1: Int64(Int8(truncatingIfNeeded: displacement))
      case 4: Int64(Int32(truncatingIfNeeded: displacement))
      default: 0
      }
    let usesStack = operand.base == 4 || operand.base == 5
    operand.segment = segment ?? (usesStack ? 2 : 3)
    memory = operand
    lengthToDisplacement = position
  }
}

extension Instruction {
  /// What the processor around Unicorn does itself, or must see.
  enum Sensitive: Hashable {
    case moveToControl(register: UInt8, source: UInt8)
    /// MOV from CR8, which the engine does not keep.
    case moveFromTaskPriority(target: UInt8)
    case invalidatePage
    case readMSR, writeMSR
    case readTimestamp, readTimestampAndProcessor
    case writeKeys
  }

  /// The operation, if the instruction is a sensitive one.
  var sensitive: Sensitive? {
    guard map == .twoByte else { return nil }
    switch opcode {
    case 0x01 where mod != 3 && reg & 7 == 7: return .invalidatePage
    case 0x01 where mod == 3 && reg & 7 == 7 && rm & 7 == 1: return .readTimestampAndProcessor
    case 0x01 where mod == 3 && reg & 7 == 5 && rm & 7 == 7: return .writeKeys
    case 0x20 where reg == 8: return .moveFromTaskPriority(target: rm)
    case 0x22: return .moveToControl(register: reg, source: rm)
    case 0x30: return .writeMSR
    case 0x31: return .readTimestamp
    case 0x32: return .readMSR
    default: return nil
    }
  }

  /// Whether the two bytes from an 0F on can be the heart of a sensitive instruction; `third` is
  /// `nil` where the page ends.
  static func maySense(_ second: UInt8, _ third: UInt8?) -> Bool {
    switch second {
    case 0x20, 0x22, 0x30, 0x31, 0x32: return true
    case 0x01:
      guard let third else { return true }
      return third >> 3 & 7 == 7 || third == 0xEF
    default: return false
    }
  }

  /// INVPCID.
  var isInvalidatePCID: Bool {
    map == .threeByte38 && opcode == 0x82 && hasOperandSizePrefix && mod != 3
  }

  /// Whether the instruction reads its operand in memory in order to write it, so that a processor
  /// reports even its first fault as a write.
  var modifiesMemory: Bool {
    guard mod != 3 else { return false }
    let operation = reg & 7
    switch (map, opcode) {
    case (.oneByte, 0x00...0x37): return opcode & 7 < 2
    case (.oneByte, 0x80...0x83): return operation != 7
    case (.oneByte, 0x86), (.oneByte, 0x87), (.oneByte, 0xC0), (.oneByte, 0xC1),
      (.oneByte, 0xD0...0xD3):
      return true
    case (.oneByte, 0xF6), (.oneByte, 0xF7): return operation == 2 || operation == 3
    case (.oneByte, 0xFE), (.oneByte, 0xFF): return operation < 2
    case (.twoByte, 0xA4), (.twoByte, 0xA5), (.twoByte, 0xAB), (.twoByte, 0xAC),
      (.twoByte, 0xAD), (.twoByte, 0xB0), (.twoByte, 0xB1), (.twoByte, 0xB3), (.twoByte, 0xBB),
      (.twoByte, 0xC0), (.twoByte, 0xC1):
      return true
    case (.twoByte, 0xBA): return operation >= 5
    case (.twoByte, 0xC7): return operation == 1
    default: return false
    }
  }

  /// Whether the instruction reads or writes descriptor tables or the task segment, whatever the
  /// privilege it runs with (SDM volume 3A, "Access Rights": implicit supervisor-mode accesses).
  var reachesSystemTables: Bool {
    switch (map, opcode) {
    case (.oneByte, 0x07), (.oneByte, 0x17), (.oneByte, 0x1F), (.oneByte, 0x8E),
      (.oneByte, 0x9A), (.oneByte, 0xC4), (.oneByte, 0xC5), (.oneByte, 0xCA), (.oneByte, 0xCB),
      (.oneByte, 0xCF), (.oneByte, 0xEA), (.oneByte, 0x6C...0x6F), (.oneByte, 0xE4...0xE7),
      (.oneByte, 0xEC...0xEF):
      return true
    case (.oneByte, 0xFF): return reg & 7 == 3 || reg & 7 == 5
    case (.twoByte, 0x00), (.twoByte, 0x02), (.twoByte, 0x03), (.twoByte, 0xA1),
      (.twoByte, 0xA9), (.twoByte, 0xB2), (.twoByte, 0xB4), (.twoByte, 0xB5):
      return true
    default: return false
    }
  }

  /// Whether the instruction replaces EFLAGS, the trap flag included: POPF and IRET.
  var loadsFlags: Bool { map == .oneByte && (opcode == 0x9D || opcode == 0xCF) }

  /// PUSHF.
  var pushesFlags: Bool { map == .oneByte && opcode == 0x9C }

  /// Whether a non-canonical address in this instruction raises #SS rather than #GP.
  var usesStackSegment: Bool {
    switch (map, opcode) {
    case (.oneByte, 0x50...0x5F), (.oneByte, 0x68), (.oneByte, 0x6A), (.oneByte, 0x8F),
      (.oneByte, 0x9C), (.oneByte, 0x9D), (.oneByte, 0xC2), (.oneByte, 0xC3), (.oneByte, 0xC8),
      (.oneByte, 0xC9), (.oneByte, 0xCA), (.oneByte, 0xCB), (.oneByte, 0xCF), (.oneByte, 0xE8):
      return true
    case (.oneByte, 0xFF) where mod == 3: return true
    default: return memory?.segment == 2
    }
  }
}
