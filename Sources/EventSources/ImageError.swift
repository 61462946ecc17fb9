public import PagingUnits

/// Why a file could not be read as guest memory: where, and what is wrong there.
public struct ImageError: Error, Hashable, Sendable {
  /// The offset in the file of the field that is wrong.
  public var offset: UInt64
  /// What is wrong.
  public var reason: Reason

  /// Names a place and a reason.
  public init(offset: UInt64, _ reason: Reason) {
    self.offset = offset
    self.reason = reason
  }

  /// A part of a core file that has a place and a size.
  public enum Part: Hashable, Sendable {
    /// The ELF header.
    case header
    /// The table of program headers.
    case programHeaders
    /// The first section header, which counts more than 65534 program headers.
    case sectionHeader
    /// The bytes of a segment of memory.
    case segment
    /// The bytes of a segment of notes.
    case notes
    /// A note's header, name or contents.
    case note
    /// A processor's registers in a note.
    case registers
  }

  /// What may be wrong with a file.
  public enum Reason: Hashable, Sendable {
    /// The file does not start as an ELF file does.
    case notELF
    /// The file is a dump in the kdump-compressed format, or in a flattened one.
    case compressedDump
    /// The class is neither ELF32 nor ELF64.
    case elfClass(UInt8)
    /// The byte order is not little-endian.
    case byteOrder(UInt8)
    /// The file is not a core.
    case notCore(type: UInt16)
    /// The machine is neither x86-64 nor i386.
    case machine(UInt16)
    /// A program header is smaller than its format.
    case entrySize(UInt16, least: UInt16)
    /// A part reaches past the end of the file.
    case truncated(Part, start: UInt64, size: UInt64, available: UInt64)
    /// A part is too small for what it has to hold.
    case tooSmall(Part, size: UInt64, least: UInt64)
    /// A segment reaches past the end of the 64-bit address space.
    case beyondAddressSpace(start: UInt64, size: UInt64)
    /// A segment has more bytes in the file than in memory.
    case fileExceedsMemory(inFile: UInt64, inMemory: UInt64)
    /// The segments of notes together are larger than the file.
    case tooManyNotes
    /// Two pieces say different things about one guest-physical address.
    case conflict(GuestPhysical)
    /// The pieces overlap so much that comparing them would never end.
    case tooMuchOverlap(GuestPhysical)
  }
}

extension ImageError: CustomStringConvertible {
  /// One sentence that names the offset and what was expected.
  public var description: String { "at offset \(hex(offset)): \(reason)" }
}

extension ImageError.Part: CustomStringConvertible {
  /// The part's name in a sentence.
  public var description: String {
    switch self {
    case .header: "the ELF header"
    case .programHeaders: "the table of program headers"
    case .sectionHeader: "the first section header"
    case .segment: "a memory segment"
    case .notes: "a note segment"
    case .note: "a note"
    case .registers: "a processor's registers"
    }
  }
}

extension ImageError.Reason: CustomStringConvertible {
  /// What is wrong and what was expected, without the place.
  public var description: String {
    switch self {
    case .notELF: "this is not an ELF file, an ELF core was expected"
    case .compressedDump:
      "this is a kdump-compressed or flattened dump, an ELF core was expected"
    case .elfClass(let value): "ELF class \(value), 1 (ELF32) or 2 (ELF64) was expected"
    case .byteOrder(let value): "byte order \(value), 1 (little-endian) was expected"
    case .notCore(let type): "ELF type \(type), 4 (a core) was expected"
    case .machine(let value): "machine \(value), 62 (x86-64) or 3 (i386) was expected"
    case .entrySize(let size, let least):
      "program headers of \(size) bytes, at least \(least) were expected"
    case .truncated(let part, let start, let size, let available):
      "\(part) needs \(hex(size)) bytes at offset \(hex(start)), the file ends at \(hex(available))"
    case .tooSmall(let part, let size, let least):
      "\(part) has \(hex(size)) bytes, at least \(hex(least)) were expected"
    case .beyondAddressSpace(let start, let size):
      "\(hex(size)) bytes at guest-physical \(hex(start)) reach past 2^64"
    case .fileExceedsMemory(let inFile, let inMemory):
      "a segment of \(hex(inFile)) bytes in the file and only \(hex(inMemory)) in memory"
    case .tooManyNotes: "the note segments together are larger than the file"
    case .conflict(let address):
      "overlapping pieces hold different bytes at guest-physical \(hex(address.raw))"
    case .tooMuchOverlap(let address):
      "pieces overlap too often to be compared, at guest-physical \(hex(address.raw))"
    }
  }
}

/// A number as the error texts show it.
private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
