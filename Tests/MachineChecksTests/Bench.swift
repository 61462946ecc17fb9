import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
import SparseMemory
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
    let process = try HostAddressSpace(sharing: buffers.makeHost())
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

  /// Makes an access and judges it.
  mutating func check(
    _ access: ReferenceAccess
  ) -> (outcome: AccessOutcome, verdict: ReferenceVerdict, violation: Violation?) {
    let verdict = reference.expect(access, in: machine)
    let outcome: AccessOutcome
    switch access.target {
    case .virtual(let address):
      outcome = machine.access(access.processor, address, access.kind, access.privilege)
    case .physical(let address):
      outcome = machine.access(access.processor, address, access.kind)
    }
    return (outcome, verdict, reference.judge(outcome, of: verdict, in: machine))
  }

  /// Makes an access to a linear address and judges it; the violation.
  mutating func violation(
    _ address: UInt64, _ kind: AccessKind = .read, _ privilege: Privilege = .user
  ) -> Violation? {
    check(ReferenceAccess(.virtual(GuestVirtual(address)), kind, privilege)).violation
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
