/// The notes of a core, read one after the other.
///
/// QEMU writes the `NT_PRSTATUS` of all processors first and then all its own notes, so the n-th of
/// each kind belongs to processor n.
struct CoreNotes {
  private let format: ELFFormat
  private(set) var processors: [CoreProcessor] = []
  private(set) var kernel: KernelNote?
  private var statusCount = 0
  private var stateCount = 0

  init(format: ELFFormat) { self.format = format }

  /// Reads the notes of one segment: `n_namesz`, `n_descsz`, `n_type`, and the two texts, each
  /// padded to 4 bytes.
  mutating func read(_ file: FileBytes, from start: UInt64, count: UInt64) throws(ImageError) {
    let segment = file.slice(start, count: count)
    var offset: UInt64 = 0
    // Fewer than 12 bytes are the padding of the last note.
    while segment.contains(offset, count: 12) {
      let nameSize = UInt64(segment.word32(at: offset))
      let contentSize = UInt64(segment.word32(at: offset + 4))
      let type = segment.word32(at: offset + 8)
      let name = offset + 12
      // 32-bit sizes padded to 4 bytes: no sum here overflows 64 bits.
      let content = name + (nameSize + 3) & ~3
      guard segment.contains(name, count: nameSize),
        segment.contains(content, count: contentSize)
      else {
        throw ImageError(
          offset: start + offset,
          .truncated(
            .note, start: start + name, size: (nameSize + 3) & ~3 + contentSize,
            available: start + count))
      }
      try readNote(
        named: segment.slice(name, count: nameSize), type: type,
        segment.slice(content, count: contentSize), at: start + content)
      offset = content + (contentSize + 3) & ~3
    }
  }

  private mutating func readNote(
    named name: FileBytes, type: UInt32, _ content: FileBytes, at place: UInt64
  ) throws(ImageError) {
    if isName(name, "CORE"), type == 1 {
      try readStatus(content, at: place)
    } else if isName(name, "QEMU"), type == 0 {
      try readState(content, at: place)
    } else if isName(name, "VMCOREINFO") {
      kernel = KernelNote(content)
    }
  }

  /// Whether a note's name is `expected`, with its terminating zero or without.
  private func isName(_ name: FileBytes, _ expected: StaticString) -> Bool {
    let length = UInt64(expected.utf8CodeUnitCount)
    guard name.count == length || name.count == length + 1 else { return false }
    return name.spells(expected, at: 0)
  }

  private func check(
    _ content: FileBytes, holds least: UInt64, at place: UInt64
  ) throws(ImageError) {
    guard content.count >= least else {
      throw ImageError(
        offset: place, .tooSmall(.registers, size: content.count, least: least))
    }
  }

  private mutating func processor(number: Int) -> Int {
    if processors.count == number { processors.append(CoreProcessor()) }
    return number
  }

  /// Reads an `NT_PRSTATUS` (`struct elf_prstatus`); the registers in it are `user_regs_struct`.
  private mutating func readStatus(
    _ content: FileBytes, at place: UInt64
  ) throws(ImageError) {
    try check(content, holds: format.isWide ? 296 : 140, at: place)
    let index = processor(number: statusCount)
    statusCount += 1
    if format.isWide {
      processors[index].instructionPointer = content.word64(at: 240)
      processors[index].codeSelector = content.word16(at: 248)
      processors[index].flags = content.word64(at: 256)
      processors[index].stackPointer = content.word64(at: 264)
    } else {
      processors[index].instructionPointer = UInt64(content.word32(at: 120))
      processors[index].codeSelector = content.word16(at: 124)
      processors[index].flags = UInt64(content.word32(at: 128))
      processors[index].stackPointer = UInt64(content.word32(at: 132))
    }
  }

  /// Reads a "QEMU" note, whose layout is the same for 32-bit guests.
  ///
  /// Version and size, 18 general registers with RIP and RFLAGS, ten segments of 24 bytes, CR0 to
  /// CR4.
  private mutating func readState(
    _ content: FileBytes, at place: UInt64
  ) throws(ImageError) {
    try check(content, holds: 432, at: place)
    let index = processor(number: stateCount)
    stateCount += 1
    processors[index].stackPointer = content.word64(at: 56)
    processors[index].instructionPointer = content.word64(at: 136)
    processors[index].flags = content.word64(at: 144)
    processors[index].codeSelector = UInt16(truncatingIfNeeded: content.word32(at: 152))
    processors[index].control = CoreControl(
      cr0: content.word64(at: 392), cr2: content.word64(at: 408), cr3: content.word64(at: 416),
      cr4: content.word64(at: 424))
  }
}
