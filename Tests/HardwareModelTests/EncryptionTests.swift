import HardwareModel
import HostMemory
import PagingUnits
import SparseMemory
import Testing

/// A guest's tables on a host that encrypts its memory, or a second dimension's, built by hand.
private final class EncryptedWorld {
  static let bit: UInt64 = 1 << 47
  static let linear: UInt64 = 0x20_3000

  // The processor goes first, then what it reads.
  var processor: Processor
  let host: HostMemory
  private let buffers: SparseHost
  /// The frames of the tables, by depth; index 0 is the page.
  let frames: [HostFrame]

  /// Tables of `levels` that map one page, each encrypted and said to be.
  init(levels: Int, keeping: Bool = false, _ bit: Int? = 47, physicalBits: UInt64 = 43) throws {
    let buffers = try SparseHost(byteCount: 64 << 20)
    var options = HostMemory.Options()
    options.deviceFrames = 4
    let host = buffers.makeHost(options)
    var features = ProcessorFeatures()
    features.vendor = .amd
    features.physicalBits = physicalBits
    features.guestPhysicalBits = physicalBits
    features.translationSets = keeping ? 16 : 0
    features.keepsWalks = keeping
    var encryption: MemoryEncryption?
    if let bit { encryption = MemoryEncryption(bit: bit, of: host) }
    var frames: [HostFrame] = []
    for _ in 0...levels {
      let frame = host.allocateTable(owner: 0)
      let made = try #require(frame)
      host.memory.fillFrame(made, with: 0)
      frames.append(made)
    }
    processor = Processor(memory: host.memory, features: features, encryption: encryption)
    self.host = host
    self.buffers = buffers
    self.frames = frames
    for depth in 1...levels {
      self[depth] = frames[depth - 1].address.raw | Self.bit | 0x67
    }
  }

  func place(_ depth: Int) -> HostPhysical {
    frames[depth].address + (Self.linear >> UInt64(12 + 9 * (depth - 1)) & 511) * 8
  }

  /// The entry of a depth.
  subscript(depth: Int) -> UInt64 {
    get { host.memory.entry(at: place(depth)) }
    set { host.memory.setEntry(newValue, at: place(depth)) }
  }

  /// What the pointer to the topmost table is.
  var root: UInt64 { frames[frames.count - 1].address.raw | Self.bit }

  /// Reads by tables of a 64-bit mode.
  func read(from root: UInt64) -> HardwareOutcome {
    var registers = ControlRegisters()
    registers.cr0 = 1 << 31 | 1
    registers.cr4 = 1 << 5 | (frames.count == 6 ? 1 << 12 : 0)
    registers.efer = 1 << 11 | 1 << 10 | 1 << 8
    registers.cr3 = root
    return processor.translate(
      GuestVirtual(Self.linear + 8), .read, .user, registers, through: .none)
  }

  /// Reads by nested page tables.
  func readNested(from root: UInt64) -> HardwareOutcome {
    processor.translate(
      guestPhysical: GuestPhysical(Self.linear + 8), .read,
      through: .npt(ncr3: root, levels: frames.count == 6 ? .five : .four))
  }

  func read(nested: Bool, from root: UInt64) -> HardwareOutcome {
    nested ? readNested(from: root) : read(from: root)
  }
}

extension HardwareOutcome {
  /// The address that an access came to.
  fileprivate var place: UInt64? {
    if case .translated(let translation) = self { translation.hostPhysical.raw } else { nil }
  }

  /// Whether an entry had a bit that must be 0.
  fileprivate var sawReservedBit: Bool {
    switch self {
    case .pageFault(let code): code & 9 == 9
    case .exit(.nestedPageFault(let code, _)): code & 9 == 9
    default: false
    }
  }
}

@Suite("Encrypted memory")
struct EncryptionTests {
  @Test(
    "the bit is stripped from the root and from every entry", arguments: [4, 5], [false, true])
  func stripped(levels: Int, nested: Bool) throws {
    for keeping in [false, true] {
      let world = try EncryptedWorld(levels: levels, keeping: keeping)
      for _ in 0..<3 {
        let outcome = world.read(nested: nested, from: world.root)
        #expect(outcome.place == world.frames[0].address.raw + 8)
      }
      #expect(world[1] == world.frames[0].address.raw | EncryptedWorld.bit | 0x67)
    }
  }

  @Test(
    "a pointer that lacks the bit leads to a table of ones, and a leaf outside memory",
    arguments: [4, 5], [false, true])
  func missing(levels: Int, nested: Bool) throws {
    for depth in 1...levels {
      let world = try EncryptedWorld(levels: levels)
      world[depth] &= ~EncryptedWorld.bit
      let outcome = world.read(nested: nested, from: world.root)
      if depth == 1 {
        #expect(outcome.place == world.frames[0].address.raw + 8 | EncryptedWorld.bit)
      } else {
        #expect(outcome.sawReservedBit, "depth \(depth)")
      }
    }
    let world = try EncryptedWorld(levels: levels)
    let wrong = world.read(nested: nested, from: world.root & ~EncryptedWorld.bit)
    #expect(wrong.sawReservedBit)
  }

  @Test(
    "a table in the clear is read by a pointer without the bit only", arguments: [false, true])
  func clear(nested: Bool) throws {
    for depth in 1...4 {
      let world = try EncryptedWorld(levels: 4)
      let entry = world[depth]
      world.host.decrypt(world.frames[depth])
      // The bytes before are gone.
      #expect(world[depth] == .max)
      world.host.memory.fillFrame(world.frames[depth], with: 0)
      world[depth] = entry
      let wrong = world.read(nested: nested, from: world.root)
      #expect(wrong.sawReservedBit)
      var root = world.root
      if depth == 4 { root &= ~EncryptedWorld.bit } else { world[depth + 1] &= ~EncryptedWorld.bit }
      let outcome = world.read(nested: nested, from: root)
      #expect(outcome.place == world.frames[0].address.raw + 8)
    }
  }

  @Test("a device's frame is reached without the bit only", arguments: [false, true])
  func device(nested: Bool) throws {
    let world = try EncryptedWorld(levels: 4)
    let frame = world.host.deviceFrames.lowerBound
    world[1] = frame.address.raw | 0x67
    let right = world.read(nested: nested, from: world.root)
    #expect(right.place == frame.address.raw + 8)
    world[1] |= EncryptedWorld.bit
    let wrong = world.read(nested: nested, from: world.root)
    #expect(wrong.place == frame.address.raw + 8 | EncryptedWorld.bit)
  }

  @Test(
    "where memory is not encrypted the bit is reserved, or one of an address",
    arguments: [false, true])
  func without(nested: Bool) throws {
    for depth in 1...4 {
      for physicalBits in [47, 48] as [UInt64] {
        let world = try EncryptedWorld(levels: 4, nil, physicalBits: physicalBits)
        for other in 1...4 where other != depth { world[other] &= ~EncryptedWorld.bit }
        let outcome = world.read(nested: nested, from: world.root & ~EncryptedWorld.bit)
        if physicalBits == 48 && depth == 1 {
          #expect(outcome.place == world.frames[0].address.raw + 8 | EncryptedWorld.bit)
        } else {
          // There is no table at that address either.
          #expect(outcome.sawReservedBit)
        }
      }
    }
  }

  @Test("PDPTE registers are loaded from a root in the clear, whose pointers have the bit")
  func directoryPointers() throws {
    let world = try EncryptedWorld(levels: 3)
    let table = world.frames[3]
    let pointer = world.frames[2].address.raw | EncryptedWorld.bit | 1
    for isClear in [false, true] {
      if isClear { world.host.decrypt(table) }
      world.host.memory.fillFrame(table, with: 0)
      world.host.memory.setEntry(pointer, at: table.address)
      var registers = ControlRegisters()
      registers.cr0 = 1 << 31 | 1
      registers.cr4 = 1 << 5
      registers.efer = 1 << 11
      registers.cr3 = table.address.raw
      for index in 0..<4 {
        registers.pdptes[index] = world.processor.directoryPointer(index, under: registers.cr3)
      }
      #expect(registers.pdptes[0] == (isClear ? pointer : .max))
      let outcome = world.processor.translate(
        GuestVirtual(EncryptedWorld.linear), .read, .user, registers, through: .none)
      #expect(outcome.place == (isClear ? world.frames[0].address.raw : nil))
    }
  }

  @Test("the guest's own entries have no such bit under nested paging")
  func guestEntries() throws {
    let world = try EncryptedWorld(levels: 4)
    // The guest's tables are those of the second dimension, which maps them onto themselves.
    for depth in 1...4 { world[depth] &= ~EncryptedWorld.bit }
    var registers = ControlRegisters()
    registers.cr0 = 1 << 31 | 1
    registers.cr4 = 1 << 5
    registers.efer = 1 << 11 | 1 << 10 | 1 << 8
    registers.cr3 = world.frames[4].address.raw
    let top = world.host.allocateTable(owner: 0)
    let middle = world.host.allocateTable(owner: 0)
    let (upper, lower) = (try #require(top), try #require(middle))
    for frame in [upper, lower] { world.host.memory.fillFrame(frame, with: 0) }
    world.host.memory.setEntry(lower.address.raw | EncryptedWorld.bit | 0x67, at: upper.address)
    // A page of 1 GiB, linear.
    world.host.memory.setEntry(EncryptedWorld.bit | 0xE7, at: lower.address)
    let dimension = SecondDimension.npt(
      ncr3: upper.address.raw | EncryptedWorld.bit, levels: .four)
    func read() -> HardwareOutcome {
      world.processor.translate(
        GuestVirtual(EncryptedWorld.linear), .read, .user, registers, through: dimension)
    }
    let right = read()
    #expect(right.place == world.frames[0].address.raw)
    world[2] |= EncryptedWorld.bit
    let wrong = read()
    #expect(wrong.sawReservedBit)
  }
}
