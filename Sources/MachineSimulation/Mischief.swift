import GuestMemory
import HostMemory
import MachineEvents
import PagingUnits
public import VirtualMachine

/// Somebody who owns a machine to which mischief is done.
public protocol MischiefTarget: AnyObject {
  /// Calls `body` with the machine.
  func withMachine(_ body: (borrowing VirtualMachine) -> Void)
}

/// Does to a machine, by a seed, what hardware and the host may do at any time.
///
///     scheduler.mischief = Mischief(seed: 7)
///     scheduler.mischief?.target = stage
///     scheduler.beginStep(of: 0)       // … the step … then scheduler.endStep()
///
/// It acts at interleaving points, on the thread that reached them. What happens to a fault's page
/// happens where a fault holds no lock (`.beforeHostLookup`, `.beforeMMULock`), through the host's
/// own functions: these take no lock that anybody keeps while waiting for the fault to look away.
/// Whatever it does can itself be interrupted by other bodies, but not by more of the same actor's
/// mischief. The same seed does the same to the same steps.
public final class Mischief {
  /// How often each kind is done.
  public var weights: MischiefWeights
  /// Whose machine it is done to; nothing is done without one.
  public weak var target: (any MischiefTarget)?
  /// What was done.
  public private(set) var history: MischiefHistory

  private var generator: SeededGenerator
  // One place for each actor, the last for whoever is no actor.
  private var processors: [Int?] = Array(repeating: nil, count: 65)
  private var isBusy = Array(repeating: false, count: 65)
  private var refusing: Int?

  /// The mischief of a seed; the history keeps the first `limit` events.
  public init(seed: UInt64, _ weights: MischiefWeights = .unseen, keeping limit: Int = 4096) {
    generator = SeededGenerator(seed)
    self.weights = weights
    history = MischiefHistory(limit: limit)
  }

  /// Whether an allocation may have been refused since the run began, so that a caller may meet a
  /// lack of memory.
  public var hasRefused: Bool { history.count(of: .refusal) > 0 }

  // MARK: Steps

  /// An actor begins a step, on its own thread.
  func beginStep(of processor: Int?, by actor: Int?) {
    let place = actor ?? 64
    processors[place] = processor
    guard let target, !isBusy[place] else { return }
    isBusy[place] = true
    defer { isBusy[place] = false }
    target.withMachine { machine in
      if let processor, does(.emptyCache) {
        note(.emptyCache, actor, nil, UInt64(processor))
        machine.drainTables(of: processor)
      }
      if refusing == nil, does(.refusal) {
        refusing = place
        let number = 1 + generator.below(12 as UInt64)
        note(.refusal, actor, nil, number)
        machine.process.host.refuse(.once(number))
      }
    }
  }

  /// An actor's step is over.
  func endStep(by actor: Int?) {
    let place = actor ?? 64
    processors[place] = nil
    guard refusing == place, let target else { return }
    refusing = nil
    target.withMachine { machine in machine.process.host.refuse(.never) }
  }

  // MARK: Points

  /// An actor has reached a point.
  func reached(_ point: InterleavingPoint, _ number: UInt64, by actor: Int?) {
    let place = actor ?? 64
    guard !isBusy[place], let target else { return }
    isBusy[place] = true
    defer { isBusy[place] = false }
    if let processor = processors[place], does(.eviction) {
      target.withMachine { machine in
        let capacity = machine.translationCapacity(of: processor)
        guard capacity > 0 else { return }
        let victim = generator.below(capacity)
        note(.eviction, actor, point, UInt64(victim))
        machine.evictTranslation(in: victim, of: processor)
      }
    }
    guard point == .beforeHostLookup || point == .beforeMMULock else { return }
    for kind in MischiefKind.allCases where kind.concernsPage && does(kind) {
      // Others could see the time in between.
      if kind == .protection && actor != nil { continue }
      target.withMachine { machine in
        guard let page = hostPage(of: GuestFrame(number), in: machine) else { return }
        note(kind, actor, point, number)
        disturb(page, kind, machine)
      }
    }
  }

  /// Whether the exchange at hand is lost.
  func loses(_ point: InterleavingPoint, _ number: UInt64, by actor: Int?) -> Bool {
    guard target != nil, does(.lostExchange) else { return false }
    note(.lostExchange, actor, point, number)
    return true
  }

  private func does(_ kind: MischiefKind) -> Bool {
    let weight = weights[kind]
    return weight > 0 && generator.chance(weight, in: 1024)
  }

  private func note(
    _ kind: MischiefKind, _ actor: Int?, _ point: InterleavingPoint?, _ number: UInt64
  ) {
    history.add(MischiefHistory.Event(kind: kind, actor: actor, point: point, number: number))
  }

  // MARK: The host

  private func hostPage(
    of frame: GuestFrame, in machine: borrowing VirtualMachine
  ) -> HostVirtual? {
    for space in AddressSpace.allCases {
      if let slot = machine.slots.slot(containing: frame, in: space) {
        return slot.hostAddress(of: frame)
      }
    }
    return nil
  }

  private func disturb(
    _ page: HostVirtual, _ kind: MischiefKind, _ machine: borrowing VirtualMachine
  ) {
    // Not the machine's own functions: those free tables, under the lock of the VMM's operations.
    switch kind {
    case .migration: _ = machine.process.migrate(page, telling: machine)
    case .swapping: _ = machine.process.swapOut(page, telling: machine)
    case .aging: _ = machine.clearFlushYoung(page..<(page + 4096))
    case .protection: protect(page, machine)
    case .splitting: _ = machine.process.split(at: page, telling: machine)
    case .joining: _ = machine.process.collapse(at: page, to: .page2M, telling: machine)
    case .unmapping: _ = machine.process.unmap(page..<(page + 4096), telling: machine)
    case .eviction, .lostExchange, .emptyCache, .refusal: break
    }
  }

  private func protect(_ page: HostVirtual, _ machine: borrowing VirtualMachine) {
    // The whole region, so that none is cut in pieces; a small one, so that it does not take long.
    guard let region = machine.process.region(containing: page), region.protection == .readWrite,
      region.range.upperBound - region.range.lowerBound <= 16 << 20
    else { return }
    do throws(HostRegionError) {
      try machine.process.protect(region.range, .readOnly, telling: machine)
      try machine.process.protect(region.range, .readWrite, telling: machine)
    } catch {
      // There are too many regions already for any to be protected.
    }
  }
}
