/// A core file of a machine: its memory by guest-physical address, and its processors.
///
/// This is what QEMU's `dump-guest-memory`, `virsh dump --memory-only` and kdump write: an ELF core
/// whose `PT_LOAD` program headers say which guest-physical bytes stand where in the file, and
/// whose `PT_NOTE` holds each processor's registers ("CORE" `NT_PRSTATUS`, and a "QEMU" note with
/// the control registers) and, from Linux, `VMCOREINFO`. ELF32 and ELF64, little-endian, i386 and
/// x86-64.
///
/// Every size, offset and count is checked before it is followed; what is allocated is bounded by
/// the size of the file.
public struct ELFCore: Sendable {
  /// The machine that a core says it is of (`e_machine`).
  public enum Architecture: Hashable, Sendable {
    /// `EM_386`: no long mode.
    case i386
    /// `EM_X86_64`: long mode was active.
    case x86_64
  }

  /// The machine.
  public let architecture: Architecture
  /// The memory, in the file's order; segments may overlap.
  public private(set) var segments: [CoreSegment] = []
  /// The processors, in the notes' order.
  public private(set) var processors: [CoreProcessor] = []
  /// What the kernel itself says of its tables, if it does.
  public private(set) var kernel: KernelNote?

  /// Reads the headers and the notes of a core; memory itself is not touched.
  public init(_ file: FileBytes) throws(ImageError) {
    let format = try ELFFormat(file)
    architecture = format.architecture
    var notes = CoreNotes(format: format)
    var noteBytes: UInt64 = 0
    for index in 0..<format.programHeaderCount {
      let header = try format.programHeader(index, in: file)
      switch header.type {
      case 1:
        if let segment = try header.segment(in: file, format) { segments.append(segment) }
      case 4:
        try header.checkContents(of: .notes, in: file)
        // Many headers may name the same notes; together they stay below the size of the file.
        noteBytes += header.byteCount
        guard noteBytes <= file.count else {
          throw ImageError(offset: header.place, .tooManyNotes)
        }
        try notes.read(file, from: header.offset, count: header.byteCount)
      default: break
      }
    }
    processors = notes.processors
    kernel = notes.kernel
  }
}
