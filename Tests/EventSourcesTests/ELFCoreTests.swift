import EventSources
import PagingUnits
import Testing

@Suite("ELF cores")
struct ELFCoreTests {
  @Test(
    "a 64-bit and a 32-bit core give their memory by guest-physical address",
    arguments: [true, false])
  func memory(isWide: Bool) throws {
    var builder = CoreBuilder(isWide: isWide, machine: isWide ? 62 : 3)
    builder.segments = [
      .init(address: 0x10_0000, contents: Array(0..<64)),
      .init(address: 0x1000, contents: Array(100..<116)),
    ]
    builder.addStatus(rip: 0x1234, cs: 0x10)
    try withFile(builder.file) { file in
      let core = try ELFCore(file)
      #expect(core.architecture == (isWide ? .x86_64 : .i386))
      var image = try MemoryImage(core.pieces(of: file))
      #expect(image.byteCount == 80)
      #expect(image.word64(at: GuestPhysical(0x1000)) == 0x6B6A_6968_6766_6564)
      #expect(image.word32(at: GuestPhysical(0x10_003C)) == 0x3F3E_3D3C)
      #expect(image.word32(at: GuestPhysical(0x10_003D)) == nil)
      #expect(image.word64(at: GuestPhysical(0x0FFF)) == nil)
      #expect(image.byte(at: GuestPhysical(.max)) == nil)
      #expect(core.processors.first?.instructionPointer == 0x1234)
      #expect(core.processors.first?.control == nil)
    }
  }

  @Test("the n-th note of each kind belongs to processor n")
  func processors() throws {
    var builder = CoreBuilder()
    for index in 0..<3 as Range<UInt64> { builder.addStatus(rip: index, cs: 0x33) }
    for index in 0..<3 as Range<UInt64> {
      builder.addState(
        rip: 0x100 + index, cs: index == 1 ? 0x33 : 0x10, cr0: 0x8005_0033,
        cr3: 0x1000 * index, cr4: index == 2 ? 0x10 : 0x20)
    }
    let core = try withFile(builder.file) { try ELFCore($0) }
    #expect(core.processors.map(\.instructionPointer) == [0x100, 0x101, 0x102])
    let registers = core.processors.map { $0.registers(in: core.architecture) }
    #expect(registers.map { $0?.cr3 } == [0, 0x1000, 0x2000])
    #expect(registers.map { $0?.cpl } == [0, 3, 0])
    #expect(registers.map { $0?.ac } == [true, true, true])
    #expect(registers.map { $0?.efer } == [0xD00, 0xD00, 0])
  }

  @Test("a 32-bit machine's core never leads to long mode")
  func legacyMode() throws {
    var builder = CoreBuilder(isWide: true, machine: 3)
    builder.addState(rip: 0, cs: 8, cr0: 0x8000_0011, cr3: 0x1000, cr4: 0x20)
    let core = try withFile(builder.file) { try ELFCore($0) }
    #expect(core.processors[0].registers(in: core.architecture)?.efer == 0x800)
  }

  @Test("without a hypervisor's note, the kernel's own tables come from its VMCOREINFO")
  func kernelNote() throws {
    var builder = CoreBuilder()
    builder.addStatus(rip: 0, cs: 0x10)
    builder.addNote(
      "VMCOREINFO",
      Array(
        """
        OSRELEASE=6.1.0
        SYMBOL(swapper_pg_dir)=ffffffff82a10000
        NUMBER(phys_base)=-16777216
        NUMBER(pgtable_l5_enabled)=1
        KERNELOFFSET=0

        """.utf8))
    let core = try withFile(builder.file) { try ELFCore($0) }
    #expect(core.processors[0].registers(in: core.architecture) == nil)
    let registers = try #require(core.kernel?.registers)
    #expect(registers.cr3 == 0x2A1_0000 - 0x100_0000)
    #expect(registers.cr4 == 0x10A0)
  }

  @Test(
    "lines of VMCOREINFO that are no numbers are skipped",
    arguments: [
      "SYMBOL(swapper_pg_dir)=", "SYMBOL(swapper_pg_dir)=zz", "SYMBOL(swapper_pg_dir)",
      "SYMBOL(swapper_pg_dir)=-", "SYMBOL(swapper_pg_dir)=111111111111111111111111", "", "\n\n=",
    ])
  func oddKernelNotes(text: String) throws {
    var builder = CoreBuilder()
    builder.addNote("VMCOREINFO", Array(text.utf8))
    let core = try withFile(builder.file) { try ELFCore($0) }
    #expect(core.kernel != nil)
    #expect(core.kernel?.registers == nil)
  }

  @Test("more than 65534 program headers are counted by section 0", arguments: [true, false])
  func extendedCount(isWide: Bool) throws {
    var builder = CoreBuilder(isWide: isWide, machine: isWide ? 62 : 3)
    builder.hasExtendedCount = true
    for index in 0..<70_000 as Range<UInt64> {
      builder.segments.append(
        .init(address: index * 16, contents: [UInt8(truncatingIfNeeded: index)]))
    }
    try withFile(builder.file) { file in
      let core = try ELFCore(file)
      #expect(core.segments.count == 70_000)
      var image = try MemoryImage(core.pieces(of: file))
      for index in [0, 1, 255, 65_535, 69_999] as [UInt64] {
        #expect(image.byte(at: GuestPhysical(index * 16)) == UInt8(truncatingIfNeeded: index))
        #expect(image.byte(at: GuestPhysical(index * 16 + 1)) == nil)
      }
    }
  }

  @Test("a segment without physical address, or without bytes, is left out")
  func leftOut() throws {
    var builder = CoreBuilder()
    builder.segments = [
      .init(address: .max, contents: [1, 2, 3]),
      .init(address: 0x1000, contents: [], memorySize: 0x1000),
      .init(address: 0x4000, contents: [7], memorySize: 0x1000),
    ]
    let core = try withFile(builder.file) { try ELFCore($0) }
    #expect(core.segments.map(\.address) == [GuestPhysical(0x4000)])
  }
}
