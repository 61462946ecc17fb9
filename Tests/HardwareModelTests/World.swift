import HardwareModel
import HostMemory
import PagingUnits
import SparseMemory

/// Memory with a guest's tables in it, and perhaps a second dimension, built entry by entry.
///
/// Guest-physical addresses lie `delta` below the host's, so that no test passes by mixing the two
/// up; without a second dimension they are the same.
final class World {
  /// The guest's paging mode.
  enum Mode: CaseIterable { case off, bits32, pae, fourLevel, fiveLevel }
  /// What stands behind guest-physical addresses.
  enum Second: CaseIterable { case none, ept4, ept5, npt4, npt5 }

  let mode: Mode
  let second: Second
  let memory: PhysicalMemory
  let delta: UInt64
  var registers = ControlRegisters()
  /// The guest-physical address of the guest's topmost table; the first level-2 table's in PAE.
  private(set) var root: UInt64 = 0
  private(set) var secondRoot: UInt64 = 0
  private let buffer: SparseBuffer
  private var nextGuest: UInt64 = 0x10_0000
  private var nextHost: UInt64 = 0x1000

  /// EPTP bit 6.
  var usesSecondMarks = true

  init(_ mode: Mode, _ second: Second = .none) throws {
    buffer = try SparseBuffer(byteCount: 1 << 30)
    memory = buffer.memory
    self.mode = mode
    self.second = second
    delta = second == .none ? 0 : 0x1000_0000
    if second != .none { secondRoot = hostFrame() }
    registers.cr0 = mode == .off ? 0x11 : 0x8001_0011
    switch mode {
    case .off: break
    case .bits32: registers.cr4 = 0x10
    case .pae: registers.cr4 = 0x20
    case .fourLevel: registers.cr4 = 0x20
    case .fiveLevel: registers.cr4 = 0x1020
    }
    if mode != .off && mode != .bits32 { registers.efer = 1 << 11 }
    if mode == .fourLevel || mode == .fiveLevel { registers.efer |= 1 << 8 | 1 << 10 }
    root = guestFrame()
    switch mode {
    case .off: break
    case .pae:
      // PDPTE 0 points to the level-2 table; the other three are not present.
      let table = guestFrame()
      registers.cr3 = root + 0x40
      memory.setEntry(table | 1, at: host(of: root + 0x40))
      registers.pdptes[0] = table | 1
      root = table
    default: registers.cr3 = root
    }
  }

  var topDepth: Int {
    switch mode {
    case .off: 0
    case .bits32, .pae: 2
    case .fourLevel: 4
    case .fiveLevel: 5
    }
  }

  var secondDepth: Int { second == .ept5 || second == .npt5 ? 5 : 4 }
  var isEPT: Bool { second == .ept4 || second == .ept5 }

  var dimension: SecondDimension {
    switch second {
    case .none: .none
    case .ept4, .ept5:
      .ept(
        eptp: secondRoot | 6 | UInt64(secondDepth - 1) << 3 | (usesSecondMarks ? 1 << 6 : 0))
    case .npt4: .npt(ncr3: secondRoot, levels: .four)
    case .npt5: .npt(ncr3: secondRoot, levels: .five)
    }
  }

  /// A host address for a guest-physical one.
  func host(of guest: UInt64) -> HostPhysical { HostPhysical(guest + delta) }

  /// A zeroed frame of host memory.
  func hostFrame() -> UInt64 {
    defer { nextHost += 0x1000 }
    return nextHost
  }

  /// A zeroed frame of guest memory, mapped in the second dimension.
  func guestFrame() -> UInt64 {
    defer { nextGuest += 0x1000 }
    if second != .none { mapSecond(nextGuest, to: nextGuest + delta) }
    return nextGuest
  }

  // MARK: The guest's tables

  private var isShort: Bool { mode == .bits32 }

  private func offset(_ linear: UInt64, _ depth: Int) -> UInt64 {
    isShort
      ? (linear >> (12 + 10 * UInt64(depth - 1)) & 1023) * 4
      : (linear >> (12 + 9 * UInt64(depth - 1)) & 511) * 8
  }

  func read(_ place: UInt64) -> UInt64 {
    isShort ? UInt64(memory.entry32(at: host(of: place))) : memory.entry(at: host(of: place))
  }

  func write(_ entry: UInt64, _ place: UInt64) {
    if isShort {
      memory.setEntry32(UInt32(entry), at: host(of: place))
    } else {
      memory.setEntry(entry, at: host(of: place))
    }
  }

  /// The guest-physical address of the entry of a depth; tables are made on the way.
  func place(_ linear: UInt64, _ depth: Int) -> UInt64 {
    var table = root
    var at = topDepth
    while at > depth {
      let place = table + offset(linear, at)
      if read(place) == 0 { write(guestFrame() | 0x7, place) }
      table = read(place) & 0x000F_FFFF_FFFF_F000
      at -= 1
    }
    return table + offset(linear, depth)
  }

  /// Reads or writes the entry of a depth.
  subscript(linear: UInt64, depth: Int) -> UInt64 {
    get { read(place(linear, depth)) }
    set { write(newValue, place(linear, depth)) }
  }

  // MARK: The second dimension

  /// The host-physical address of the second dimension's entry of a depth.
  func secondPlace(_ guest: UInt64, _ depth: Int) -> HostPhysical {
    var table = secondRoot
    var at = secondDepth
    while at > depth {
      let place = HostPhysical(table + (guest >> (12 + 9 * UInt64(at - 1)) & 511) * 8)
      if memory.entry(at: place) == 0 { memory.setEntry(hostFrame() | 0x7, at: place) }
      table = memory.entry(at: place) & 0x000F_FFFF_FFFF_F000
      at -= 1
    }
    return HostPhysical(table + (guest >> (12 + 9 * UInt64(depth - 1)) & 511) * 8)
  }

  /// Reads or writes the second dimension's entry of a depth.
  subscript(second guest: UInt64, depth: Int) -> UInt64 {
    get { memory.entry(at: secondPlace(guest, depth)) }
    set { memory.setEntry(newValue, at: secondPlace(guest, depth)) }
  }

  /// Maps a page of the second dimension with every right: write-back in EPT.
  func mapSecond(_ guest: UInt64, to host: UInt64, depth: Int = 1) {
    let large: UInt64 = depth > 1 ? 1 << 7 : 0
    self[second: guest, depth] = host | large | (isEPT ? 0x37 : 0x7)
  }

  // MARK: The processor

  /// A processor that keeps nothing.
  func features(_ change: (inout ProcessorFeatures) -> Void = { _ in }) -> ProcessorFeatures {
    var features = ProcessorFeatures()
    features.translationSets = 0
    features.keepsWalks = false
    if !isEPT && second != .none { features.vendor = .amd }
    change(&features)
    return features
  }

  func processor(
    _ change: (inout ProcessorFeatures) -> Void = { _ in }
  ) -> Processor { Processor(memory: memory, features: features(change)) }

  /// One access by a fresh processor that keeps nothing.
  func access(
    _ linear: UInt64, _ kind: AccessKind = .read, _ privilege: Privilege = .supervisor,
    _ change: (inout ProcessorFeatures) -> Void = { _ in }
  ) -> HardwareOutcome {
    var processor = processor(change)
    return processor.translate(GuestVirtual(linear), kind, privilege, registers, through: dimension)
  }
}

extension HardwareOutcome {
  /// Where the access goes, if it does.
  var translation: Translation? {
    if case .translated(let translation) = self { translation } else { nil }
  }

  /// The error code, if the guest faults.
  var errorCode: UInt32? {
    if case .pageFault(let code) = self { code } else { nil }
  }

  /// The qualification of an EPT violation, if it is one.
  var qualification: UInt64? {
    if case .exit(.eptViolation(let qualification, _, _)) = self { qualification } else { nil }
  }

  /// The error code of a nested page fault, if it is one.
  var nestedCode: UInt64? {
    if case .exit(.nestedPageFault(let code, _)) = self { code } else { nil }
  }

  /// The guest-physical address of an exit, if it is one.
  var exitAddress: UInt64? {
    switch self {
    case .exit(.eptViolation(_, let address, _)): address.raw
    case .exit(.eptMisconfiguration(let address)): address.raw
    case .exit(.nestedPageFault(_, let address)): address.raw
    default: nil
    }
  }
}

/// A sequence that looks random and is the same for the same seed.
struct Dice {
  private var state: UInt64
  init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

  mutating func word() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }

  /// A number below `bound`.
  mutating func below(_ bound: UInt64) -> UInt64 { (word() >> 16) % bound }
  /// A bit.
  mutating func flag() -> Bool { word() >> 40 & 1 != 0 }
}
