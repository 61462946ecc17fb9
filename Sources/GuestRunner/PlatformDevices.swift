/// The few devices of a PC that a test kernel expects.
struct PlatformDevices {
  private enum Port {
    static let debugConsole: UInt16 = 0xE9
    static let debugExit: UInt16 = 0xF4
    static let timer: ClosedRange<UInt16> = 0x40...0x43
    static let systemControl: UInt16 = 0x61
    static let interruptControllers: [UInt16] = [0x20, 0x21, 0xA0, 0xA1]
  }

  private var serial = SerialPort()
  private var firmware: FirmwareConfiguration
  private var masks: (primary: UInt8, secondary: UInt8) = (0xFF, 0xFF)
  private var systemControl: UInt8 = 0
  var interrupts = LocalInterruptController()

  /// What a write to a port does beyond the device itself.
  enum Effect: Hashable {
    case none
    case output(UInt8)
    /// The guest ends the run; the value it wrote.
    case exit(UInt32)
  }

  init(memoryBytes: UInt64, commandLine: String) {
    firmware = FirmwareConfiguration(memoryBytes: memoryBytes, commandLine: commandLine)
  }

  /// Whether a port belongs to the serial port or the debug console, whose traffic would drown
  /// everything else in a report.
  static func isConsole(_ port: UInt16) -> Bool {
    port == Port.debugConsole || port & ~7 == SerialPort.base
  }

  mutating func read(_ port: UInt16, byteCount: Int) -> UInt32 {
    var value: UInt32 = 0
    for index in 0..<byteCount {
      // The firmware's data port is one byte wide, and wider reads take more of its bytes.
      let place = port == FirmwareConfiguration.dataPort ? port : port &+ UInt16(index)
      value |= UInt32(readByte(place)) << UInt32(8 * index)
    }
    return value
  }

  private mutating func readByte(_ port: UInt16) -> UInt8 {
    switch port {
    case SerialPort.base..<SerialPort.base + 8: return serial.read(port - SerialPort.base)
    case FirmwareConfiguration.dataPort: return firmware.next()
    // Reading the debug console gives its own number where there is one.
    case Port.debugConsole: return 0xE9
    case 0x21: return masks.primary
    case 0xA1: return masks.secondary
    case 0x20, 0xA0: return 0
    case Port.timer: return 0
    case Port.systemControl:
      // The refresh bit toggles and the timer's output is up, so that a loop on either ends.
      systemControl ^= 0x10
      return systemControl | 0x20
    default: return 0xFF
    }
  }

  mutating func write(_ port: UInt16, byteCount: Int, _ value: UInt32) -> Effect {
    let byte = UInt8(truncatingIfNeeded: value)
    switch port {
    case SerialPort.base..<SerialPort.base + 8:
      return serial.write(port - SerialPort.base, byte).map(Effect.output) ?? .none
    case FirmwareConfiguration.selectorPort:
      firmware.select(UInt16(truncatingIfNeeded: value))
    case Port.debugConsole: return .output(byte)
    case Port.debugExit: return .exit(byteCount == 4 ? value : value & 0xFFFF)
    case 0x21: masks.primary = byte
    case 0xA1: masks.secondary = byte
    case Port.systemControl: systemControl = byte & 0x0F
    default: break
    }
    return .none
  }
}
