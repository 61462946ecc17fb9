import EventSources
import PagingUnits
import X86Paging

extension ImageOptions {
  /// Opens the files and gathers the registers.
  func open() throws -> GuestView {
    var pieces: [ImagePiece] = []
    var registers: ControlRegisters?
    if let core {
      let file = try MappedFile(core, for: "--core")
      let parsed = try Self.reading(file, "--core") { () throws(ImageError) in
        try ELFCore(file.bytes)
      }
      pieces += try Self.reading(file, "--core") { () throws(ImageError) in
        try parsed.pieces(of: file.bytes)
      }
      registers = try self.registers(in: parsed, core)
    }
    for argument in image {
      let (name, address) = Self.split(argument)
      let file = try MappedFile(name, for: "--image")
      let piece = try Self.reading(file, "--image") { () throws(ImageError) in
        try ImagePiece(start: GuestPhysical(address), bytes: file.bytes)
      }
      pieces.append(piece)
    }
    let memory: MemoryImage
    do {
      memory = try MemoryImage(pieces)
    } catch {
      throw Failure("\((core.map { [$0] } ?? image).joined(separator: ", ")): \(error)")
    }
    let features = PagingFeatures(physicalBits: physicalBits)
    let layered =
      nestedRoot.map { LayeredImage(memory, eptPointer: $0, features: features) }
      ?? LayeredImage(memory)
    return try GuestView(layered, chosen(over: registers), features)
  }

  /// Runs a step that reads `file` and names the file when it fails.
  private static func reading<Result>(
    _ file: MappedFile, _ option: String, _ step: () throws(ImageError) -> Result
  ) throws -> Result {
    do throws(ImageError) {
      return try step()
    } catch {
      throw Failure("\(option) \(file.name): \(error)")
    }
  }

  /// Splits `FILE@GPA`; a name without an address, or with another word after the sign, is a name.
  static func split(_ argument: String) -> (name: String, address: UInt64) {
    guard let sign = argument.lastIndex(of: "@"),
      let address = try? Quantity.option(String(argument[argument.index(after: sign)...]))
    else { return (argument, 0) }
    return (String(argument[..<sign]), address)
  }

  /// The registers of the processor that `--cpu` names, or of the kernel itself.
  private func registers(in core: ELFCore, _ name: String) throws -> ControlRegisters? {
    let count = core.processors.count
    guard cpu < UInt64(max(count, 1)) else {
      throw Failure(
        "--cpu \(cpu): the core \(name) has \(count) processors, counted from 0")
    }
    guard count > 0 else { return core.kernel?.registers }
    return core.processors[Int(cpu)].registers(in: core.architecture) ?? core.kernel?.registers
  }

  /// The registers from the core with those of the options over them.
  private func chosen(over found: ControlRegisters?) throws -> ControlRegisters {
    var registers = found ?? ControlRegisters()
    if found == nil {
      registers.cr0 = 0x8001_0001
      registers.cr4 = 0x20
      registers.efer = 0xD00
    }
    if let cr0 { registers.cr0 = cr0 }
    if let cr4 { registers.cr4 = cr4 }
    if let efer { registers.efer = efer }
    if let cr3 { registers.cr3 = cr3 & ~(1 << 63) }
    registers.pkru = UInt32(pkru)
    let pagingIsOn = CR0Layout.paging.isSet(in: registers.cr0)
    guard found != nil || cr3 != nil || !pagingIsOn else {
      throw Failure(
        core.map { "--core \($0): no note has the control registers, --cr3 was expected" }
          ?? "--cr3 was expected with --image")
    }
    // A processor sets LMA itself when paging is switched on with LME set.
    if pagingIsOn && EFERLayout.longModeEnable.isSet(in: registers.efer) {
      registers.efer |= EFERLayout.longModeActive.mask
    }
    return registers
  }
}
