import EventSources
import PagingUnits
import Testing

@Suite("Malformed cores are refused with a place and a reason")
struct MalformedCoreTests {
  private var sound: CoreBuilder {
    var builder = CoreBuilder()
    builder.addStatus(rip: 0, cs: 0x10)
    builder.addState(rip: 0, cs: 0x10, cr0: 0x8005_0033, cr3: 0x1000, cr4: 0x20)
    builder.segments = [.init(address: 0x1000, contents: Array(repeating: 7, count: 4096))]
    return builder
  }

  /// The sound core with `word` at `offset`.
  private func spoilt<Word: FixedWidthInteger>(_ offset: Int, _ word: Word) -> ImageError? {
    var file = ByteList(bytes: sound.file)
    file.put(word, at: offset)
    return problem(with: file.bytes)
  }

  @Test("the core that the others are made from is sound")
  func soundCore() { #expect(problem(with: sound.file) == nil) }

  @Test("no proper prefix of a core is a core")
  func truncated() {
    let file = sound.file
    for count in 0..<file.count {
      #expect(problem(with: Array(file[..<count])) != nil, "\(count) bytes were accepted")
    }
  }

  @Test("what is no ELF core of this machine is named")
  func identity() {
    #expect(problem(with: Array("not an ELF file".utf8))?.reason == .notELF)
    #expect(problem(with: Array("KDUMP   xxxx".utf8))?.reason == .compressedDump)
    #expect(problem(with: Array("makedumpfile".utf8))?.reason == .compressedDump)
    #expect(spoilt(4, UInt8(3)) == ImageError(offset: 4, .elfClass(3)))
    #expect(spoilt(5, UInt8(2)) == ImageError(offset: 5, .byteOrder(2)))
    #expect(spoilt(16, UInt16(2)) == ImageError(offset: 16, .notCore(type: 2)))
    #expect(spoilt(18, UInt16(183)) == ImageError(offset: 18, .machine(183)))
    #expect(spoilt(54, UInt16(32)) == ImageError(offset: 54, .entrySize(32, least: 56)))
  }

  @Test("a table of program headers outside the file is refused, whatever its offset and size")
  func programHeaders() {
    for offset in [UInt64.max, 1 << 63, UInt64(sound.file.count), UInt64(sound.file.count) - 8] {
      guard case .truncated(.programHeaders, let start, _, _) = spoilt(32, offset)?.reason else {
        Issue.record("a table at \(offset) was accepted")
        continue
      }
      #expect(start == offset)
    }
    guard case .truncated(.programHeaders, _, _, _) = spoilt(56, UInt16(0xFFFE))?.reason else {
      Issue.record("65534 program headers were accepted")
      return
    }
  }

  @Test("a count in a section header outside the file is refused")
  func sectionHeader() {
    var file = ByteList(bytes: sound.file)
    file.put(UInt16(0xFFFF), at: 56)
    file.put(UInt64.max - 20, at: 40)
    guard case .truncated(.sectionHeader, _, _, _) = problem(with: file.bytes)?.reason else {
      Issue.record("a section header at the end of the address space was accepted")
      return
    }
  }

  @Test("sizes and offsets near 16 EiB are refused, not added up", arguments: [32, 8])
  func enormousSegment(field: Int) {
    let header = 64 + 56
    for word in [UInt64.max, UInt64.max - 4095, 1 << 63] {
      guard case .truncated(.segment, _, _, _) = spoilt(header + field, word)?.reason else {
        Issue.record("\(word) was accepted")
        continue
      }
    }
  }

  @Test("a segment that reaches past the address space is refused")
  func beyondAddressSpace() {
    let header = 64 + 56
    #expect(
      spoilt(header + 24, UInt64.max - 4094)
        == ImageError(
          offset: UInt64(header), .beyondAddressSpace(start: .max - 4094, size: 4096)))
    #expect(spoilt(header + 24, UInt64.max - 4095) == nil)
    #expect(
      spoilt(header + 40, UInt64.max)?.reason == .beyondAddressSpace(start: 0x1000, size: .max))
    #expect(
      spoilt(header + 40, UInt64(1))?.reason == .fileExceedsMemory(inFile: 4096, inMemory: 1))
  }

  @Test("notes whose sizes lie outside their segment are refused")
  func notes() {
    let notes = 64 + 2 * 56
    for offset in [notes, notes + 4] {
      guard case .truncated(.note, _, _, _) = spoilt(offset, UInt32.max)?.reason else {
        Issue.record("a note of 4 GiB was accepted")
        continue
      }
    }
    #expect(
      spoilt(notes + 4, UInt32(8))?.reason == .tooSmall(.registers, size: 8, least: 296))
  }

  @Test("note segments that repeat each other beyond the size of the file are refused")
  func repeatedNotes() {
    var file = ByteList(bytes: sound.file)
    let table = file.bytes.count
    let header = Array(file.bytes[64..<120])
    for _ in 0..<200 { file.bytes += header }
    file.put(UInt64(table), at: 32)
    file.put(UInt16(200), at: 56)
    #expect(problem(with: file.bytes)?.reason == .tooManyNotes)
  }

  @Test("every error is one line that names the offset")
  func descriptions() {
    let errors = [
      spoilt(4, UInt8(3)), spoilt(32, UInt64.max), spoilt(64 + 56 + 40, UInt64.max),
      problem(with: []),
    ]
    for error in errors {
      let text = error.map { "\($0)" } ?? ""
      #expect(text.hasPrefix("at offset 0x"))
      #expect(!text.contains("\n"))
    }
  }
}
