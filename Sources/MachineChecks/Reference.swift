public import PagingUnits
public import VirtualMachine

/// What accesses must come to, computed the slow obvious way from first principles: guest tables
/// read as bytes, then memslots, then the host process's page table, then policy.
///
/// It shares no code with the MMU, with `X86Paging`'s walker or with `HardwareModel`'s: it is the
/// third party, which judges the other two. It remembers what processors may lawfully still keep of
/// the guest's tables, so it has to see **every** access and every invalidation of a processor:
///
/// ```
/// let verdict = reference.expect(access, in: machine)
/// let outcome = machine.access(…)
/// if let violation = reference.judge(outcome, of: verdict, in: machine) { … }
/// ```
///
/// It judges machines at rest: nothing else may happen between the two calls. Towards the host
/// nothing is ever stale once the operation that changed it has returned.
public struct Reference: Sendable {
  /// Whether the host always has a frame for whoever asks.
  public enum Supply: Hashable, Sendable {
    /// It does; an access that fails for want of memory is a violation.
    case plentiful
    /// It may refuse one at any time, as a `RefusalPolicy` makes it.
    case scarce
  }

  /// The host's supply of frames.
  public var supply = Supply.plentiful
  /// How many verdicts had more ways than could be followed.
  public private(set) var openVerdicts = 0
  let configuration: MachineConfiguration
  var remembered: [RememberedWalks]
  /// What was overwritten, for machines with shadow paging.
  var overwritten: OverwrittenEntries
  private var memories: [ReferenceMemory?] = [nil, nil]

  /// A reference for a machine that has not run yet.
  public init(_ configuration: MachineConfiguration) {
    self.configuration = configuration
    remembered = Array(repeating: RememberedWalks(), count: configuration.processors)
    overwritten = OverwrittenEntries(processors: configuration.processors)
  }

  /// What an access that is about to be made may lawfully come to; changes nothing in the machine.
  public mutating func expect(
    _ access: ReferenceAccess, in machine: borrowing VirtualMachine
  ) -> ReferenceVerdict {
    let addressSpace = machine.addressSpace(of: access.processor)
    let memory = memory(addressSpace, machine)
    let mode = ReferenceMode(machine[registersOf: access.processor], configuration)
    switch access.target {
    case .physical(let address):
      var walk = ReferenceWalk(
        ReferenceVerdict(access, mode, addressSpace, linear: nil), memory, configuration)
      walk.reach(address.raw, machine)
      return walk.verdict
    case .virtual(let address):
      let linear = mode.linear(address.raw)
      var walk = ReferenceWalk(
        ReferenceVerdict(access, mode, addressSpace, linear: linear), memory, configuration)
      guard let linear else { return walk.verdict }
      walk.walk(linear, remembered[access.processor], overwritten, configuration, machine)
      if walk.verdict.isOpen { openVerdicts += 1 }
      return walk.verdict
    }
  }

  /// Takes note of guest memory that somebody is about to store to, whoever it is.
  ///
  /// Only machines with shadow paging need it: their tables serve processors that did not build
  /// them. Without it, what another processor's walk left in a table out of sync is a violation.
  ///
  /// - Parameters:
  ///   - byteCount: how many bytes.
  ///   - address: where they start.
  ///   - space: by which memslots.
  ///   - machine: the machine, in which the bytes are the old ones.
  public mutating func willStore(
    _ byteCount: Int, at address: GuestPhysical, in space: AddressSpace,
    of machine: borrowing VirtualMachine
  ) {
    guard configuration.mmu == .shadow, byteCount > 0 else { return }
    let memory = memory(space, machine)
    let first = address.raw & ~7
    for number in 0...(address.raw & 7 + UInt64(byteCount) - 1) >> 3 {
      let (place, isBeyond) = first.addingReportingOverflow(number << 3)
      if isBeyond { return }
      if let host = memory.hostAddress(place), let word = memory.bytes(8, at: host, machine) {
        overwritten.note(word, at: host)
      }
    }
  }

  /// Guest memory as it is now.
  mutating func memory(
    _ space: AddressSpace, _ machine: borrowing VirtualMachine
  ) -> ReferenceMemory {
    let index = Int(space.rawValue)
    if let known = memories[index], known.isCurrent(machine, space) { return known }
    let memory = ReferenceMemory(machine, space)
    memories[index] = memory
    return memory
  }
}
