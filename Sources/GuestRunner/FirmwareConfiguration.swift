/// The firmware configuration device of a virtual PC ("fw_cfg"): a selector and a data port.
struct FirmwareConfiguration {
  static let selectorPort: UInt16 = 0x510
  static let dataPort: UInt16 = 0x511

  private enum Key {
    static let signature: UInt16 = 0x00, interface: UInt16 = 0x01, memory: UInt16 = 0x03
    static let processors: UInt16 = 0x05, maximumProcessors: UInt16 = 0x0F
    static let commandLineSize: UInt16 = 0x14, commandLine: UInt16 = 0x15
    static let files: UInt16 = 0x19
  }

  private let memoryBytes: UInt64
  private let commandLine: [UInt8]
  private var selected: [UInt8]
  private var position = 0

  init(memoryBytes: UInt64, commandLine: String) {
    self.memoryBytes = memoryBytes
    self.commandLine = Array(commandLine.utf8) + [0]
    selected = []
    select(Key.signature)
  }

  mutating func select(_ key: UInt16) {
    position = 0
    // Bit 14 asks for writing, which nothing here takes.
    switch key & 0x3FFF {
    case Key.signature: selected = Array("QEMU".utf8)
    case Key.interface: selected = Self.little(1, 4)
    case Key.memory: selected = Self.little(memoryBytes, 8)
    case Key.processors, Key.maximumProcessors: selected = Self.little(1, 2)
    case Key.commandLineSize: selected = Self.little(UInt64(commandLine.count), 4)
    case Key.commandLine: selected = commandLine
    // A directory of no files.
    case Key.files: selected = [0, 0, 0, 0]
    default: selected = []
    }
  }

  /// The next byte of what is selected; zeros after its end.
  mutating func next() -> UInt8 {
    guard position < selected.count else { return 0 }
    defer { position += 1 }
    return selected[position]
  }

  private static func little(_ value: UInt64, _ count: UInt64) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }
}
