import PagingUnits

/// The shape of an ELF file: its class, machine, and the table of program headers.
struct ELFFormat {
  let isWide: Bool
  let architecture: ELFCore.Architecture
  let tableOffset: UInt64
  let entrySize: UInt64
  let programHeaderCount: UInt64

  /// Reads the ELF header and checks that the whole table of program headers lies in the file.
  init(_ file: FileBytes) throws(ImageError) {
    try Self.checkIdentity(file)
    isWide = file.byte(at: 4) == 2
    let headerSize: UInt64 = isWide ? 64 : 52
    guard file.contains(0, count: headerSize) else {
      throw ImageError(
        offset: 0, .truncated(.header, start: 0, size: headerSize, available: file.count))
    }
    let type = file.word16(at: 16)
    guard type == 4 else { throw ImageError(offset: 16, .notCore(type: type)) }
    switch file.word16(at: 18) {
    case 62: architecture = .x86_64
    case 3: architecture = .i386
    case let machine: throw ImageError(offset: 18, .machine(machine))
    }
    tableOffset = isWide ? file.word64(at: 32) : UInt64(file.word32(at: 28))
    let entrySizePlace: UInt64 = isWide ? 54 : 42
    let size = file.word16(at: entrySizePlace)
    let least: UInt16 = isWide ? 56 : 32
    entrySize = UInt64(size)
    let count = file.word16(at: entrySizePlace + 2)
    programHeaderCount =
      count == 0xFFFF ? try Self.extendedCount(file, isWide: isWide) : UInt64(count)
    guard size >= least || programHeaderCount == 0 else {
      throw ImageError(offset: entrySizePlace, .entrySize(size, least: least))
    }
    // At most 2^32 headers of at most 2^16 bytes: the product does not overflow.
    let tableSize = programHeaderCount * entrySize
    guard file.contains(tableOffset, count: tableSize) else {
      throw ImageError(
        offset: isWide ? 32 : 28,
        .truncated(
          .programHeaders, start: tableOffset, size: tableSize, available: file.count))
    }
  }

  /// Checks the bytes that say what kind of file this is.
  private static func checkIdentity(_ file: FileBytes) throws(ImageError) {
    guard file.spells("\u{7F}ELF", at: 0) else {
      let isOtherDump =
        file.spells("KDUMP   ", at: 0) || file.spells("DISKDUMP", at: 0)
        || file.spells("makedumpfile", at: 0)
      throw ImageError(offset: 0, isOtherDump ? .compressedDump : .notELF)
    }
    guard file.contains(0, count: 24) else {
      throw ImageError(
        offset: 0, .truncated(.header, start: 0, size: 52, available: file.count))
    }
    let elfClass = file.byte(at: 4)
    guard elfClass == 1 || elfClass == 2 else {
      throw ImageError(offset: 4, .elfClass(elfClass))
    }
    guard file.byte(at: 5) == 1 else {
      throw ImageError(offset: 5, .byteOrder(file.byte(at: 5)))
    }
  }

  /// The number of program headers when it does not fit 16 bits: `sh_info` of section 0.
  private static func extendedCount(
    _ file: FileBytes, isWide: Bool
  ) throws(ImageError) -> UInt64 {
    let place: UInt64 = isWide ? 40 : 32
    let start = isWide ? file.word64(at: place) : UInt64(file.word32(at: place))
    let size: UInt64 = isWide ? 64 : 40
    guard file.contains(start, count: size) else {
      throw ImageError(
        offset: place,
        .truncated(.sectionHeader, start: start, size: size, available: file.count))
    }
    return UInt64(file.word32(at: start + (isWide ? 44 : 28)))
  }

  /// The program header number `index`; traps past the table.
  func programHeader(_ index: UInt64, in file: FileBytes) throws(ImageError) -> ProgramHeader {
    precondition(index < programHeaderCount, "a program header lies in the table")
    return ProgramHeader(file, at: tableOffset + index * entrySize, isWide: isWide)
  }
}

/// One program header, widened to 64 bits.
struct ProgramHeader {
  /// Where the header itself stands in the file.
  let place: UInt64
  let type: UInt32
  let offset: UInt64
  let physical: UInt64
  let byteCount: UInt64
  let memoryByteCount: UInt64
  private let isWide: Bool

  init(_ file: FileBytes, at place: UInt64, isWide: Bool) {
    self.place = place
    self.isWide = isWide
    type = file.word32(at: place)
    if isWide {
      offset = file.word64(at: place + 8)
      physical = file.word64(at: place + 24)
      byteCount = file.word64(at: place + 32)
      memoryByteCount = file.word64(at: place + 40)
    } else {
      offset = UInt64(file.word32(at: place + 4))
      physical = UInt64(file.word32(at: place + 12))
      byteCount = UInt64(file.word32(at: place + 16))
      memoryByteCount = UInt64(file.word32(at: place + 20))
    }
  }

  /// Checks that the contents lie in the file.
  func checkContents(of part: ImageError.Part, in file: FileBytes) throws(ImageError) {
    guard file.contains(offset, count: byteCount) else {
      throw ImageError(
        offset: place,
        .truncated(part, start: offset, size: byteCount, available: file.count))
    }
  }

  /// The memory that a `PT_LOAD` header describes; `nil` when the core has no byte of it, or no
  /// physical address (all ones, as a live kernel's core writes for its virtual areas).
  func segment(in file: FileBytes, _ format: ELFFormat) throws(ImageError) -> CoreSegment? {
    try checkContents(of: .segment, in: file)
    guard physical != (isWide ? UInt64.max : UInt64(UInt32.max)) else { return nil }
    guard byteCount <= memoryByteCount else {
      throw ImageError(
        offset: place, .fileExceedsMemory(inFile: byteCount, inMemory: memoryByteCount))
    }
    // The last byte may be the last of the address space, so the size is compared with what is
    // left.
    guard memoryByteCount == 0 || memoryByteCount - 1 <= UInt64.max - physical else {
      throw ImageError(
        offset: place, .beyondAddressSpace(start: physical, size: memoryByteCount))
    }
    guard byteCount > 0 else { return nil }
    return CoreSegment(
      address: GuestPhysical(physical), byteCount: byteCount, offset: offset, headerOffset: place)
  }
}
