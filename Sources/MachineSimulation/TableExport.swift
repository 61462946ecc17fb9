import Foundation
import GuestMemory
public import HardwareModel
import HostMemory
public import PageTables
public import PagingUnits
public import Reports
import ShadowMMU
public import VirtualMachine

/// What a processor would walk: the frames that hold a machine's tables, and the registers that
/// point to them, so that another processor model can walk them.
///
/// Three files: `frames.bin` holds the frames one after another; `frames.json` says of each its
/// host frame and what kind of table it is; `roots.json` says for each processor what its control
/// structure points to. Hexadecimal numbers are strings. Where `encryption_bit` is a number, that
/// bit of the register and of every entry that leads to memory is no part of an address: a walker
/// clears it.
public struct TableExport: Sendable {
  /// A table.
  public struct Table: Hashable, Sendable {
    /// Whose table it is.
    public let kind: Kind
    /// The host frame that holds it.
    public let frame: HostFrame
    /// What kind of table it is; of a bare one, the role of the root with its own level.
    public let role: ShadowPageRole
    /// The first guest frame that it covers, or the frame of the guest's table that it stands for.
    public let guestFrame: GuestFrame
  }

  /// Whose table a table is.
  public enum Kind: String, Hashable, Sendable {
    /// The machine's: it maps guest-physical addresses, or linear ones as they are.
    case direct
    /// It stands for a table of the guest's.
    case shadow
    /// It holds sub-page permissions, or leads to them.
    case spp
    /// A processor's own under shadow paging, without a shadow page: part of a special root.
    case bare
  }

  /// What a processor's control structure points to.
  public struct Root: Hashable, Sendable {
    /// The number of the processor.
    public let processor: Int
    /// Which memslots it goes by.
    public let space: AddressSpace
    /// What its hardware walks in the second dimension; none under shadow paging.
    public let dimension: SecondDimension
    /// The topmost table that its hardware walks.
    public let table: HostPhysical
    /// The level of that table: 3 for the four entries of PAE paging.
    public let level: Level
    /// The bit of a pointer that says that memory is encrypted; 0 where none does.
    public let encryption: UInt64
    /// The topmost table of sub-page permissions (SPPTP); `nil` where there is none.
    public let subpageTable: HostPhysical?
  }

  /// The live tables, in the order of their host frames.
  public let tables: [Table]
  /// The roots of the processors that have loaded one.
  public let roots: [Root]
  private let configuration: MachineConfiguration

  /// The tables of a machine at rest.
  public init(_ machine: borrowing VirtualMachine) {
    var tables: [Table] = []
    var number: UInt32 = 1
    while let id = machine.tables.arena.row(number) {
      let row = machine.tables.arena[id]
      if row.state == .live {
        tables.append(Table(row))
      }
      number += 1
    }
    var roots: [Root] = []
    for processor in 0..<machine.configuration.processors {
      if machine.configuration.mmu == .shadow {
        tables += Self.bareTables(of: processor, machine)
      }
      if let root = Self.root(of: processor, machine) { roots.append(root) }
    }
    self.tables = tables.sorted { $0.frame < $1.frame }
    self.roots = roots
    configuration = machine.configuration
  }

  private static func root(
    of processor: Int, _ machine: borrowing VirtualMachine
  ) -> Root? {
    let space = machine.addressSpace(of: processor)
    if machine.configuration.mmu == .shadow {
      return machine.shadowRoot(of: processor).map { frame, level in
        Root(
          processor: processor, space: space, dimension: .none, table: frame.address,
          level: level, encryption: machine.tables.encoding.encryption, subpageTable: nil)
      }
    }
    guard let dimension = machine.secondDimension(of: processor),
      let frame = machine.rootFrame(of: processor)
    else { return nil }
    let subpages = machine.subpageRoot(of: processor)
    return Root(
      processor: processor, space: space, dimension: dimension, table: frame.address,
      level: machine.configuration.rootLevel, encryption: machine.tables.encoding.encryption,
      subpageTable: subpages == .none ? nil : machine.tables.arena[subpages].frame.address)
  }

  /// The tables of a processor's special roots that are no shadow pages.
  private static func bareTables(
    of processor: Int, _ machine: borrowing VirtualMachine
  ) -> [Table] {
    machine.withShadowState(of: processor) { state in
      let special = state.special
      return [
        (special.pae, 3), (special.level4, 4), (special.level5, 5),
        (special.dummy, state.rootRole.depth),
      ]
      .compactMap { frame, depth in
        guard let frame else { return nil }
        var role = state.rootRole
        role.depth = depth
        role.isPassthrough = false
        return Table(kind: .bare, frame: frame, role: role, guestFrame: GuestFrame(0))
      }
    }
  }

  // MARK: The three files

  /// The bytes of all tables, one after another.
  public func bytes(of machine: borrowing VirtualMachine) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(tables.count << 12)
    for table in tables {
      for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> {
        let word = machine.tables.memory.entry(at: table.frame.address + offset)
        for shift in stride(from: 0, to: 64, by: 8) as StrideTo<UInt64> {
          bytes.append(UInt8(truncatingIfNeeded: word >> shift))
        }
      }
    }
    return bytes
  }

  /// What `frames.json` says.
  public func appendFrames(to text: inout TextBuffer) {
    for (index, table) in tables.enumerated() {
      text.append(index == 0 ? "[" : ",\n ")
      text.append("{\"index\":")
      text.appendDecimal(UInt64(index))
      text.append(",\"host_frame\":")
      text.appendQuotedHex(table.frame.number)
      text.append(",")
      Self.appendMembers(of: table, to: &text)
      text.append("}")
    }
    text.append(tables.isEmpty ? "[]\n" : "]\n")
  }

  /// What `roots.json` says.
  public func appendRoots(to text: inout TextBuffer) {
    for (index, root) in roots.enumerated() {
      text.append(index == 0 ? "[" : ",\n ")
      text.append("{")
      appendMembers(of: root, to: &text)
      text.append("}")
    }
    text.append(roots.isEmpty ? "[]\n" : "]\n")
  }

  /// Writes a table's kind, level and role as members of a JSON object.
  static func appendMembers(of table: Table, to text: inout TextBuffer) {
    let role = table.role
    text.append("\"kind\":")
    text.appendQuoted(table.kind.rawValue)
    text.append(",\"level\":")
    text.appendDecimal(UInt64(role.level.depth))
    text.append(",\"guest_frame\":")
    text.appendQuotedHex(table.guestFrame.number)
    text.append(",\"role\":")
    text.appendQuotedHex(UInt64(role.word))
    text.append(",\"address_space\":")
    text.appendDecimal(UInt64(role.space.rawValue))
    text.append(",\"access\":")
    text.appendQuoted(
      (role.access.contains(.user) ? "u" : "-") + (role.access.contains(.write) ? "w" : "-")
        + (role.access.contains(.execute) ? "x" : "-"))
    text.append(",\"accessed_dirty\":")
    text.appendTruth(!role.accessedDirtyDisabled)
    text.append(",\"invalid\":")
    text.appendTruth(role.isInvalid)
  }

  /// Writes a root as members of a JSON object.
  func appendMembers(of root: Root, to text: inout TextBuffer) {
    text.append("\"processor\":")
    text.appendDecimal(UInt64(root.processor))
    text.append(",\"address_space\":")
    text.appendDecimal(UInt64(root.space.rawValue))
    text.append(",\"vendor\":")
    text.appendQuoted(configuration.vendor.rawValue)
    text.append(",\"register\":")
    text.appendQuoted(root.register)
    text.append(",\"value\":")
    text.appendQuotedHex(root.value)
    text.append(",\"levels\":")
    text.appendDecimal(UInt64(root.level.depth))
    text.append(",\"physical_bits\":")
    text.appendDecimal(UInt64(configuration.physicalBits))
    text.append(",\"encryption_bit\":")
    if let bit = configuration.encryptionBit {
      text.appendDecimal(UInt64(bit))
    } else {
      text.append("null")
    }
    text.append(",\"sppt\":")
    if let table = root.subpageTable {
      text.appendQuotedHex(table.raw)
    } else {
      text.append("null")
    }
    text.append(",\"execute_only\":")
    text.appendTruth(configuration.vendor == .intel && configuration.executeOnly == .present)
  }

  // MARK: Writing them

  /// Why the files could not be written: the file, and what was expected.
  public struct WriteError: Error, Hashable, Sendable {
    /// One line.
    public let message: String
  }

  /// Writes the three files into a folder, which is made if it is not there.
  public func write(
    _ machine: borrowing VirtualMachine, to folder: String
  ) throws(WriteError) {
    var frames = TextBuffer()
    appendFrames(to: &frames)
    var roots = TextBuffer()
    appendRoots(to: &roots)
    do {
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    } catch {
      throw WriteError(message: "\(folder): a folder that can be made was expected")
    }
    let place = URL(fileURLWithPath: folder, isDirectory: true)
    for (name, data) in [
      ("frames.bin", Data(bytes(of: machine))), ("frames.json", Data(frames.text.utf8)),
      ("roots.json", Data(roots.text.utf8)),
    ] {
      let file = place.appendingPathComponent(name)
      do {
        try data.write(to: file)
      } catch {
        throw WriteError(message: "\(file.path): a file that can be written was expected")
      }
    }
  }
}

extension TableExport.Table {
  /// The table that a row of the arena describes.
  init(_ row: ShadowPage) {
    let kind: TableExport.Kind =
      row.role.isSubpageTable ? .spp : row.role.isDirect ? .direct : .shadow
    self.init(kind: kind, frame: row.frame, role: row.role, guestFrame: row.guestFrame)
  }
}

extension TableExport.Root {
  /// The name of the register: the EPT pointer, nested CR3, or CR3.
  var register: String {
    switch dimension {
    case .none: "cr3"
    case .ept: "eptp"
    case .npt: "ncr3"
    }
  }

  /// What the register holds; of CR3, the table's address alone, and whether it is encrypted where
  /// there is room to say so.
  public var value: UInt64 {
    switch dimension {
    case .none: level > .page1G ? table.raw | encryption : table.raw
    case .ept(let eptp): eptp
    case .npt(let ncr3, _): ncr3
    }
  }
}
