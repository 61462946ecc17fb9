import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
import SparseMemory
import Testing
import VirtualMachine

/// A machine with one slot of guest memory at 0, and a reference that sees all it does.
struct Bench: ~Copyable {
  // Fields end in this order: the buffers outlive the machine on them.
  let machine: VirtualMachine
  let buffers: SparseHost
  /// Where slot 0 lies in the host process.
  let base: HostVirtual
  var reference: Reference

  init(
    _ configuration: MachineConfiguration = MachineConfiguration(), slot: UInt64 = 16 << 20,
    backing: Level = .page4K
  ) throws {
    let buffers = try SparseHost(byteCount: 1 << 30)
    var options = HostMemory.Options()
    options.deviceFrames = 16
    let process = try HostAddressSpace(sharing: buffers.makeHost(options))
    let base = try process.add(
      HostRegionRequest(byteCount: slot, backing: .anonymous(largestPage: backing)))
    let machine = VirtualMachine(configuration, process: process)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: slot, hostAddress: base))
    reference = Reference(configuration)
    self.buffers = buffers
    self.base = base
    self.machine = machine
  }

  /// Writes 8-byte words as the VMM; whether the host let it.
  @discardableResult func write(_ words: [UInt64], at address: UInt64) -> Bool {
    unsafe machine.write(words.span.bytes, to: GuestPhysical(address)) == words.count * 8
  }

  /// Reads an 8-byte word as the VMM.
  func read(_ address: UInt64) -> UInt64 {
    var words: [UInt64] = [0]
    var span = words.mutableSpan
    var bytes = unsafe span.mutableBytes
    let done = machine.read(into: &bytes, from: GuestPhysical(address))
    precondition(done == 8, "a test reads inside its slot")
    return words[0]
  }

  /// The host page behind a guest-physical address of slot 0.
  func hostPage(_ address: UInt64) -> Range<HostVirtual> {
    let start = base + address & ~0xFFF
    return start..<(start + 4096)
  }

  /// Has every processor run in 4-level paging, with linear pages 0 to 15 at frames 16 to 31: user
  /// pages that may be written, all marked accessed, the first eight dirty.
  func setUpPaging(cr4: UInt64 = 0, flags: UInt64 = 0) {
    for table in 1...3 as ClosedRange<UInt64> { write([(table + 1) << 12 | 0x27], at: table << 12) }
    for page in 0..<16 as Range<UInt64> {
      write([(16 + page) << 12 | (page < 8 ? 0x67 : 0x27) | flags], at: Self.entry(page))
      write([0x1111_1111 * (page + 1)], at: (16 + page) << 12)
    }
    var registers = ControlRegisters()
    registers.cr0 = 0x8001_0033
    registers.cr3 = 0x1000
    registers.cr4 = 0x20 | cr4
    registers.efer = 0xD00
    for processor in 0..<machine.configuration.processors {
      machine[registersOf: processor] = registers
    }
  }

  /// Where the entry of a linear page stands.
  static func entry(_ page: UInt64) -> UInt64 { 0x4000 + page * 8 }

  /// Where the machine's own leaf for a guest-physical address stands.
  func ownLeaf(_ physical: UInt64) -> HostPhysical? {
    let memory = machine.process.host.memory
    guard var table = machine.rootFrame(of: 0)?.address else { return nil }
    var depth = Int(machine.configuration.rootLevel.depth)
    while true {
      let place = table + (physical >> UInt64(3 + 9 * depth) & 511) * 8
      let entry = memory.entry(at: place)
      if entry & 7 == 0 { return nil }
      if depth == 1 || entry >> 7 & 1 == 1 { return place }
      table = HostPhysical(entry & 0x000F_FFFF_FFFF_F000)
      depth -= 1
    }
  }

  /// Makes an access and judges it.
  mutating func check(
    _ access: ReferenceAccess
  ) -> (outcome: AccessOutcome, verdict: ReferenceVerdict, violation: Violation?) {
    let verdict = reference.expect(access, in: machine)
    let outcome: AccessOutcome
    let count = UInt64(access.touchedBytes)
    switch access.target {
    case .virtual(let address):
      outcome =
        access.performer == .hypervisor
        ? machine.emulatedAccess(
          access.processor, address, access.kind, access.privilege, byteCount: count)
        : machine.access(
          access.processor, address, access.kind, access.privilege, byteCount: count)
    case .physical(let address):
      outcome =
        access.performer == .hypervisor
        ? machine.emulatedAccess(access.processor, address, access.kind, byteCount: count)
        : machine.access(access.processor, address, access.kind, byteCount: count)
    }
    return (outcome, verdict, reference.judge(outcome, of: verdict, in: machine))
  }

  /// Makes an access to a linear address and judges it; the violation.
  mutating func violation(
    _ address: UInt64, _ kind: AccessKind = .read, _ privilege: Privilege = .user
  ) -> Violation? {
    check(ReferenceAccess(.virtual(GuestVirtual(address)), kind, privilege)).violation
  }

  /// Makes an access that has to be lawful.
  mutating func expectLawful(
    _ address: UInt64, _ kind: AccessKind = .read,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    if let violation = violation(address, kind) {
      Issue.record("\(violation)", sourceLocation: sourceLocation)
    }
  }

  /// Where an access may lawfully find memory.
  mutating func destinations(_ address: UInt64, _ kind: AccessKind = .read) -> Set<UInt64> {
    let access = ReferenceAccess(.virtual(GuestVirtual(address)), kind)
    return Set(reference.expect(access, in: machine).destinations.map(\.raw))
  }

  /// Says where a read of page 0 may find memory, exactly.
  mutating func expectDestinations(
    _ meant: Set<UInt64>, sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let found = destinations(0)
    #expect(found == meant, sourceLocation: sourceLocation)
  }

  /// Has a processor forget, and tells the reference.
  mutating func invalidate(_ what: Invalidation, of processor: Int = 0) {
    machine.invalidate(processor, what)
    reference.invalidated(processor, what, in: machine)
  }
}

/// A chance that follows from a seed (SplitMix64).
struct Chance: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
  mutating func oneIn(_ bound: UInt64) -> Bool { below(bound) == 0 }
}
