import EventSources
import PagingUnits

/// Little-endian bytes that grow.
struct ByteList {
  var bytes: [UInt8] = []

  mutating func append<Word: FixedWidthInteger>(_ word: Word) {
    for index in 0..<(Word.bitWidth / 8) {
      bytes.append(UInt8(truncatingIfNeeded: word >> Word(index * 8)))
    }
  }

  mutating func put<Word: FixedWidthInteger>(_ word: Word, at offset: Int) {
    for index in 0..<(Word.bitWidth / 8) {
      bytes[offset + index] = UInt8(truncatingIfNeeded: word >> Word(index * 8))
    }
  }

  mutating func pad(to count: Int) {
    while bytes.count < count { bytes.append(0) }
  }
}

/// Writes ELF cores as a hypervisor would.
struct CoreBuilder {
  /// A run of guest-physical memory.
  struct Segment {
    var address: UInt64
    var contents: [UInt8]
    var memorySize: UInt64?
  }

  var isWide = true
  var machine: UInt16 = 62
  var segments: [Segment] = []
  var notes = ByteList()
  /// Whether the number of headers goes to section 0, as it must beyond 65534.
  var hasExtendedCount = false

  mutating func addNote(_ name: String, type: UInt32 = 0, _ contents: [UInt8]) {
    notes.append(UInt32(name.utf8.count + 1))
    notes.append(UInt32(contents.count))
    notes.append(type)
    notes.bytes += Array(name.utf8) + [0]
    notes.pad(to: (notes.bytes.count + 3) & ~3)
    notes.bytes += contents
    notes.pad(to: (notes.bytes.count + 3) & ~3)
  }

  /// Adds both notes of a processor.
  mutating func addStatus(rip: UInt64, cs: UInt16) {
    var status = ByteList(bytes: Array(repeating: 0, count: isWide ? 336 : 144))
    if isWide {
      status.put(rip, at: 240)
      status.put(cs, at: 248)
    } else {
      status.put(UInt32(truncatingIfNeeded: rip), at: 120)
      status.put(cs, at: 124)
    }
    addNote("CORE", type: 1, status.bytes)
  }

  mutating func addState(rip: UInt64, cs: UInt16, cr0: UInt64, cr3: UInt64, cr4: UInt64) {
    var state = ByteList(bytes: Array(repeating: 0, count: 440))
    state.put(UInt32(1), at: 0)
    state.put(UInt32(440), at: 4)
    state.put(rip, at: 136)
    state.put(UInt64(1 << 18), at: 144)
    state.put(UInt32(cs), at: 152)
    state.put(cr0, at: 392)
    state.put(cr3, at: 416)
    state.put(cr4, at: 424)
    addNote("QEMU", state.bytes)
  }

  /// The file.
  var file: [UInt8] {
    let headerSize = isWide ? 64 : 52
    let entrySize = isWide ? 56 : 32
    let count = segments.count + 1
    let sectionSize = hasExtendedCount ? (isWide ? 64 : 40) : 0
    var offset = headerSize + sectionSize + count * entrySize
    var file = ByteList(bytes: [0x7F, 0x45, 0x4C, 0x46, isWide ? 2 : 1, 1, 1, 0])
    file.pad(to: 16)
    file.append(UInt16(4))
    file.append(machine)
    file.append(UInt32(1))
    file.pad(to: headerSize)
    let table = headerSize + sectionSize
    if isWide {
      file.put(UInt64(table), at: 32)
      file.put(UInt64(hasExtendedCount ? headerSize : 0), at: 40)
    } else {
      file.put(UInt32(table), at: 28)
      file.put(UInt32(hasExtendedCount ? headerSize : 0), at: 32)
    }
    file.put(UInt16(entrySize), at: isWide ? 54 : 42)
    file.put(UInt16(hasExtendedCount ? 0xFFFF : count), at: isWide ? 56 : 44)
    if hasExtendedCount {
      file.pad(to: table)
      file.put(UInt32(count), at: headerSize + (isWide ? 44 : 28))
    }
    appendHeader(&file, type: 4, offset, 0, notes.bytes.count, UInt64(notes.bytes.count))
    offset += notes.bytes.count
    for segment in segments {
      appendHeader(
        &file, type: 1, offset, segment.address, segment.contents.count,
        segment.memorySize ?? UInt64(segment.contents.count))
      offset += segment.contents.count
    }
    file.bytes += notes.bytes
    for segment in segments { file.bytes += segment.contents }
    return file.bytes
  }

  private func appendHeader(
    _ file: inout ByteList, type: UInt32, _ offset: Int, _ address: UInt64, _ size: Int,
    _ memorySize: UInt64
  ) {
    file.append(type)
    if isWide {
      file.append(UInt32(0))
      for word in [UInt64(offset), 0, address, UInt64(size), memorySize, 0] { file.append(word) }
    } else {
      for word in [UInt64(offset), 0, address, UInt64(size), memorySize, 0, 0] {
        file.append(UInt32(truncatingIfNeeded: word))
      }
    }
  }
}

/// Hands `bytes` to `body` as the bytes of a file.
func withFile<Result>(_ bytes: [UInt8], _ body: (FileBytes) throws -> Result) rethrows -> Result {
  // SAFETY: the array outlives the call, and nobody keeps the window.
  try unsafe bytes.withUnsafeBytes { buffer in
    try body(unsafe FileBytes(buffer))
  }
}

/// The error that reading `bytes` as a core and an image throws; `nil` when none.
func problem(with bytes: [UInt8]) -> ImageError? {
  withFile(bytes) { file in
    do throws(ImageError) {
      let core = try ELFCore(file)
      _ = try MemoryImage(core.pieces(of: file))
      return nil
    } catch {
      return error
    }
  }
}

/// Numbers that look random and are the same every time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
