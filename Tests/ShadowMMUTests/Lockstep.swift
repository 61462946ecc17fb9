import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PageTables
import PagingUnits
import SparseMemory
import VirtualMachine

/// A machine on a host of its own, with two slots: guest memory at 0 and more at 1 GiB.
struct Bench: ~Copyable {
  // Fields end in this order: the buffers outlive the machine on them.
  let machine: VirtualMachine
  let buffers: SparseHost
  /// Where slot 0 lies in the host process.
  let base: HostVirtual
  let byteCount: UInt64

  init(
    _ configuration: MachineConfiguration, slot: UInt64, backing: Level,
    host byteCount: UInt64 = 1 << 30
  ) throws {
    let buffers = try SparseHost(byteCount: byteCount)
    let host = buffers.makeHost()
    let process = try HostAddressSpace(sharing: host)
    let base = try process.add(
      HostRegionRequest(byteCount: slot, backing: .anonymous(largestPage: backing)))
    let machine = VirtualMachine(configuration, process: process)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: slot, hostAddress: base))
    self.buffers = buffers
    self.base = base
    self.machine = machine
    self.byteCount = slot
  }

  func write(_ word: UInt64, _ count: Int, at address: UInt64) {
    let words = [word]
    let done = unsafe machine.write(
      words.span.bytes.extracting(0..<count), to: GuestPhysical(address))
    precondition(done == count, "a test writes inside its slot")
  }

  func read(_ address: UInt64) -> UInt64 {
    var words: [UInt64] = [0]
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    let done = machine.read(into: &bytes, from: GuestPhysical(address))
    precondition(done == 8, "a test reads inside its slot")
    return words[0]
  }

  /// The words of a frame.
  func page(_ frame: UInt64) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: 512)
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    let done = machine.read(into: &bytes, from: GuestPhysical(frame << 12))
    precondition(done == 4096, "a test reads inside its slot")
    return words
  }

  /// A guest's store of up to 8 bytes of its own, at a place that an access gave.
  func store(_ word: UInt64, _ count: Int, _ translation: Translation, isTable: Bool) {
    let words = [word]
    unsafe machine.tables.memory.write(
      words.span.bytes.extracting(0..<count), to: translation.hostPhysical)
    if isTable { machine.stored(0, at: translation.guestPhysical, byteCount: count) }
  }
}

/// What an access came to, as both machines must see it.
enum Seen: Equatable, CustomStringConvertible {
  case memory(UInt64)
  case pageFault(UInt32)
  case generalProtection
  case device(UInt64)
  case other(String)

  init(_ outcome: AccessOutcome) {
    switch outcome {
    case .translated(let one), .tableStore(let one): self = .memory(one.guestPhysical.raw)
    case .pageFault(let code): self = .pageFault(code)
    case .generalProtection: self = .generalProtection
    case .device(let address): self = .device(address.raw)
    default: self = .other("\(outcome)")
    }
  }

  var description: String {
    switch self {
    case .memory(let address): "memory 0x" + String(address, radix: 16)
    case .pageFault(let code): "page fault 0x" + String(code, radix: 16)
    case .generalProtection: "#GP"
    case .device(let address): "device 0x" + String(address, radix: 16)
    case .other(let words): words
    }
  }
}

/// Reproducible chance.
struct Chance {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
  mutating func below(_ limit: Int) -> Int { Int(next() >> 11) % limit }
  mutating func oneIn(_ count: Int) -> Bool { below(count) == 0 }
  mutating func pick<Element>(_ choices: [Element]) -> Element { choices[below(choices.count)] }
}
