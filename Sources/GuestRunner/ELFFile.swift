/// An ELF executable of a 32- or 64-bit x86 processor, as far as a loader reads it (System V ABI,
/// "Object Files").
struct ELFFile {
  let is64: Bool
  let entry: UInt64
  private let programTable: UInt64
  private let programCount: UInt64
  private let sectionTable: UInt64
  private let sectionCount: UInt64

  private static let programLimit: UInt64 = 4096
  private static let sectionLimit: UInt64 = 65536

  init(_ image: ImageBytes) throws(ImageError) {
    guard try image.word(0) == 0x464C_457F else {
      throw ImageError(offset: 0, reason: .noAddresses)
    }
    let kind = try image.byte(4)
    let order = try image.byte(5)
    let machine = try image.half(18)
    guard kind == 1 || kind == 2, order == 1, machine == 3 || machine == 62 else {
      throw ImageError(offset: 4, reason: .machine)
    }
    is64 = kind == 2
    entry = is64 ? try image.long(24) : UInt64(try image.word(24))
    programTable = is64 ? try image.long(32) : UInt64(try image.word(28))
    sectionTable = is64 ? try image.long(40) : UInt64(try image.word(32))
    let counts: UInt64 = is64 ? 54 : 42
    let programSize = UInt64(try image.half(counts))
    programCount = UInt64(try image.half(counts + 2))
    let sectionSize = UInt64(try image.half(counts + 4))
    let sections = UInt64(try image.half(counts + 6))
    guard programCount == 0 || programSize == (is64 ? 56 : 32) else {
      throw ImageError(offset: counts, reason: .entrySize(programSize))
    }
    guard programCount <= Self.programLimit else {
      throw ImageError(offset: counts + 2, reason: .tooMany(programCount))
    }
    // Sections only name symbols: an odd table is left out, not refused.
    sectionCount = sectionSize == (is64 ? 64 : 40) ? min(sections, Self.sectionLimit) : 0
    let (bytes, overflow) = programTable.addingReportingOverflow(programCount * programSize)
    guard !overflow else { throw ImageError(offset: 28, reason: .wraps) }
    try image.check(programTable, count: bytes - programTable)
  }

  /// The loadable segments, at their physical addresses, and the entry point's physical address.
  func load(_ image: ImageBytes) throws(ImageError) -> ([GuestImage.Segment], UInt64) {
    var segments: [GuestImage.Segment] = []
    var start = entry
    for index in 0..<programCount {
      let header = programTable + index * (is64 ? 56 : 32)
      guard try image.word(header) == 1 else { continue }
      let offset = try field(image, header, 8, 4)
      let virtual = try field(image, header, 16, 8)
      let physical = try field(image, header, 24, 12)
      let fileBytes = try field(image, header, 32, 16)
      let byteCount = try field(image, header, 40, 20)
      guard fileBytes <= byteCount else {
        throw ImageError(offset: header, reason: .fileLargerThanMemory)
      }
      try image.check(offset, count: fileBytes)
      guard physical <= .max - byteCount, virtual <= .max - byteCount else {
        throw ImageError(offset: header, reason: .wraps)
      }
      // The entry point is a virtual address; the kernel is entered without paging.
      if virtual <= entry && entry - virtual < byteCount { start = physical + (entry - virtual) }
      segments.append(
        GuestImage.Segment(
          address: physical, byteCount: byteCount, file: offset..<offset + fileBytes))
    }
    return (segments, start)
  }

  /// Where a linear address of a segment lies before paging; `nil` outside every segment.
  func physicalAddress(of address: UInt64, _ image: ImageBytes) -> UInt64? {
    do throws(ImageError) {
      for index in 0..<programCount {
        let header = programTable + index * (is64 ? 56 : 32)
        guard try image.word(header) == 1 else { continue }
        let virtual = try field(image, header, 16, 8)
        if virtual <= address, address - virtual < (try field(image, header, 40, 20)) {
          return try field(image, header, 24, 12) &+ (address - virtual)
        }
      }
    } catch {
      return nil
    }
    return nil
  }

  private func field(
    _ image: ImageBytes, _ base: UInt64, _ wide: UInt64, _ narrow: UInt64
  ) throws(ImageError) -> UInt64 {
    is64 ? try image.long(base + wide) : UInt64(try image.word(base + narrow))
  }

  /// A section's kind, place, size and linked section.
  struct Section {
    var kind: UInt32
    var offset: UInt64
    var byteCount: UInt64
    var link: UInt64
  }

  /// The section with an index; `nil` when it is not there or does not lie in the file.
  func section(_ index: UInt64, _ image: ImageBytes) -> Section? {
    guard index < sectionCount else { return nil }
    let size: UInt64 = is64 ? 64 : 40
    let (start, overflow) = sectionTable.addingReportingOverflow(index * size)
    guard !overflow else { return nil }
    do throws(ImageError) {
      try image.check(start, count: size)
      let section = Section(
        kind: try image.word(start + 4), offset: try field(image, start, 24, 16),
        byteCount: try field(image, start, 32, 20),
        link: UInt64(try image.word(start + (is64 ? 40 : 24))))
      try image.check(section.offset, count: section.byteCount)
      return section
    } catch {
      return nil
    }
  }

  /// The number of sections.
  var sections: UInt64 { sectionCount }
}
