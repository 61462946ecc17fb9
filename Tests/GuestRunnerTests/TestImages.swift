import GuestRunner

/// Images made by hand.
enum TestImages {
  /// A 32-bit ELF with one segment: Multiboot header first, then code.
  static func elf32(_ code: [UInt8], at address: UInt32 = 0x10_0000) -> [UInt8] {
    let body = header(flags: 3) + code
    var file = [UInt8](repeating: 0, count: 0x200)
    put(&file, 0, [0x7F, 0x45, 0x4C, 0x46, 1, 1, 1])
    put16(&file, 16, 2)
    put16(&file, 18, 3)
    put32(&file, 20, 1)
    put32(&file, 24, address + 12)
    put32(&file, 28, 52)
    put16(&file, 40, 52)
    put16(&file, 42, 32)
    put16(&file, 44, 1)
    put32(&file, 52, 1)
    put32(&file, 56, 0x200)
    put32(&file, 60, address)
    put32(&file, 64, address)
    put32(&file, 68, UInt32(body.count))
    put32(&file, 72, UInt32(body.count) + 0x1000)
    return file + body
  }

  /// The same as a 64-bit file.
  static func elf64(_ code: [UInt8], at address: UInt64 = 0x10_0000) -> [UInt8] {
    let body = header(flags: 3) + code
    var file = [UInt8](repeating: 0, count: 0x200)
    put(&file, 0, [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1])
    put16(&file, 16, 2)
    put16(&file, 18, 62)
    put32(&file, 20, 1)
    put64(&file, 24, address + 12)
    put64(&file, 32, 64)
    put16(&file, 52, 64)
    put16(&file, 54, 56)
    put16(&file, 56, 1)
    put32(&file, 64, 1)
    put64(&file, 72, 0x200)
    put64(&file, 80, address)
    put64(&file, 88, address)
    put64(&file, 96, UInt64(body.count))
    put64(&file, 104, UInt64(body.count) + 0x1000)
    return file + body
  }

  /// A kernel whose header has the addresses.
  static func plain(_ code: [UInt8], at address: UInt32 = 0x10_0000) -> [UInt8] {
    var file = header(flags: 0x1_0003)
    for word in [address, address, 0, address + 0x8000, address + 32] { append32(&file, word) }
    return file + code
  }

  private static func header(flags: UInt32) -> [UInt8] {
    var bytes: [UInt8] = []
    append32(&bytes, 0x1BAD_B002)
    append32(&bytes, flags)
    append32(&bytes, 0 &- 0x1BAD_B002 &- flags)
    return bytes
  }

  private static func put(_ file: inout [UInt8], _ offset: Int, _ bytes: [UInt8]) {
    file.replaceSubrange(offset..<offset + bytes.count, with: bytes)
  }
  static func put16(_ file: inout [UInt8], _ offset: Int, _ value: UInt16) {
    put(&file, offset, (0..<2).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) })
  }
  static func put32(_ file: inout [UInt8], _ offset: Int, _ value: UInt32) {
    put(&file, offset, (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) })
  }
  static func put64(_ file: inout [UInt8], _ offset: Int, _ value: UInt64) {
    put(&file, offset, (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) })
  }
  private static func append32(_ bytes: inout [UInt8], _ value: UInt32) {
    for index in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt32(index)))) }
  }
}

/// Random numbers that repeat: a seed gives the same sequence everywhere.
struct SeededNumbers: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    // SplitMix64; wrapping is the point.
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
