/// Where an instruction's accesses go, for the instructions that make most page faults.
extension Instruction {
  /// The operand whose address the registers give before the instruction runs.
  enum PlainOperand: Hashable {
    /// The operand that ModRM names, in an instruction with no other access to memory.
    case memory(immediateBytes: Int)
    /// An address inside the instruction.
    case absolute
    /// A push of one word, or a pop of one.
    case push, pop
    /// LEAVE pops from where RBP points.
    case framePop
    /// A string instruction's source, or its destination.
    case source, destination
  }

  /// The operand of an access of this kind; `nil` for instructions with several such accesses, or
  /// rare ones.
  func plainOperand(isWrite: Bool) -> PlainOperand? {
    switch map {
    case .oneByte: oneByteOperand(isWrite: isWrite)
    case .twoByte: twoByteOperand
    case .threeByte38, .threeByte3A: nil
    }
  }

  private func oneByteOperand(isWrite: Bool) -> PlainOperand? {
    let wide = hasOperandSizePrefix ? 2 : 4
    switch opcode {
    case 0x00...0x3B where opcode & 7 < 4: return named(0)
    case 0x63, 0x84...0x8B, 0xD0...0xD3: return named(0)
    case 0x80, 0x82, 0x83, 0x6B, 0xC0, 0xC1, 0xC6: return named(1)
    case 0x81, 0x69, 0xC7: return named(wide)
    case 0xF6: return named(reg & 7 < 2 ? 1 : 0)
    case 0xF7: return named(reg & 7 < 2 ? wide : 0)
    case 0xFE, 0xFF: return reg & 7 < 2 ? named(0) : nil
    case 0xA0...0xA3: return .absolute
    case 0x50...0x57, 0x68, 0x6A, 0x9C, 0xE8: return isWrite ? .push : nil
    case 0x58...0x5F, 0x9D, 0xC2, 0xC3: return isWrite ? nil : .pop
    case 0xC9: return isWrite ? nil : .framePop
    case 0xA4, 0xA5: return isWrite ? .destination : .source
    case 0xAA, 0xAB: return isWrite ? .destination : nil
    case 0xAC, 0xAD: return isWrite ? nil : .source
    default: return nil
    }
  }

  private var twoByteOperand: PlainOperand? {
    switch opcode {
    case 0x10, 0x11, 0x28, 0x29, 0x40...0x4F, 0x6E, 0x6F, 0x7E, 0x7F, 0x90...0x9F, 0xAF, 0xB0, 0xB1,
      0xB6, 0xB7, 0xBE, 0xBF, 0xC0, 0xC1, 0xD6:
      return named(0)
    case 0xBA: return named(1)
    default: return nil
    }
  }

  private func named(_ immediateBytes: Int) -> PlainOperand? {
    memory == nil ? nil : .memory(immediateBytes: immediateBytes)
  }
}
