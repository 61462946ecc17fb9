/// A 16550 serial port without interrupts, whose line never blocks.
struct SerialPort {
  static let base: UInt16 = 0x3F8

  private var interruptEnable: UInt8 = 0
  private var fifoControl: UInt8 = 0
  private var lineControl: UInt8 = 0
  private var modemControl: UInt8 = 0
  private var scratch: UInt8 = 0
  private var divisor: UInt16 = 1
  /// A byte that came back in loop-back mode.
  private var received: UInt8?

  private var selectsDivisor: Bool { lineControl & 0x80 != 0 }
  private var isLoopedBack: Bool { modemControl & 0x10 != 0 }

  mutating func read(_ register: UInt16) -> UInt8 {
    switch register {
    case 0 where selectsDivisor: return UInt8(truncatingIfNeeded: divisor)
    case 0:
      defer { received = nil }
      return received ?? 0
    case 1: return selectsDivisor ? UInt8(divisor >> 8) : interruptEnable
    // No interrupt pending; both upper bits say that the FIFO is on.
    case 2: return fifoControl & 1 != 0 ? 0xC1 : 0x01
    case 3: return lineControl
    case 4: return modemControl
    // The transmitter is always empty.
    case 5: return received == nil ? 0x60 : 0x61
    // Carrier, data set ready, clear to send.
    case 6: return isLoopedBack ? 0x90 : 0xB0
    default: return scratch
    }
  }

  /// Writes a register; the byte that goes out on the line, if any.
  mutating func write(_ register: UInt16, _ value: UInt8) -> UInt8? {
    switch register {
    case 0 where selectsDivisor: divisor = divisor & 0xFF00 | UInt16(value)
    case 0:
      guard isLoopedBack else { return value }
      received = value
    case 1 where selectsDivisor: divisor = divisor & 0x00FF | UInt16(value) << 8
    case 1: interruptEnable = value & 0xF
    case 2: fifoControl = value
    case 3: lineControl = value
    case 4: modemControl = value & 0x1F
    case 7: scratch = value
    default: break
    }
    return nil
  }
}
