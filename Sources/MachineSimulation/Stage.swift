import GuestMemory
import HardwareModel
import HostMemory
public import MachineChecks
public import MachineEvents
import PagingUnits
import Reports
import SparseMemory
public import VirtualMachine

/// A machine on which steps are performed one after another, with everything that checks it.
///
/// A stage is used by one thread at a time. Steps never trap, whatever they ask for: what cannot be
/// done is a result.
public final class Stage {
  // Fields end in this order: the machine first, then what it lies on and reports to.
  /// The machine.
  public let machine: VirtualMachine
  /// What the machine lies on.
  let ground: StageGround
  /// The tracepoints since they were last looked at.
  public let log: TraceLog
  /// The machine, as the scenario says it.
  public let settings: ScenarioMachine
  /// What the reference remembers of processors.
  var reference: Reference
  /// The host memory behind the slots, and where the next one goes.
  var backing = SlotBackings()
  /// How many accesses the reference judged.
  public internal(set) var judgedCount: UInt64 = 0
  /// Whether steps run interleaved now, so that an access cannot be judged by itself.
  var isInterleaving = false
  /// Whether an interleaved access came to something that the reference cannot follow.
  var isInDoubt = false
  /// Whether interleaved steps never came to an end: their threads still stand in the machine.
  public internal(set) var isStuck = false
  /// Who lets interleaved steps in.
  let scheduler: Scheduler

  /// How a stage is made.
  public struct Options: Sendable {
    /// The most tracepoints that are kept; 0 keeps none.
    public var traceLimit = 1 << 16
    /// Who is let in at interleaving points when no steps run interleaved.
    public var interleaver: Interleaver?
    /// Keeps tracepoints, lets nobody in.
    public init() {}
  }

  /// A machine without slots.
  public init(_ settings: ScenarioMachine, options: Options = Options()) throws(StageError) {
    self.settings = settings
    let configuration = settings.configuration
    do throws(EncryptionBitError) {
      try configuration.checkEncryption(memoryBytes: settings.hostBytes)
    } catch {
      throw StageError("encryption-bit: \(error.expectation) was expected")
    }
    let log = TraceLog(limit: options.traceLimit)
    let buffers: SparseHost
    do throws(SparseBuffer.Failure) {
      buffers = try SparseHost(byteCount: settings.hostBytes)
    } catch {
      throw StageError(
        "host-memory: \(settings.hostBytes) bytes of addresses were expected to be free")
    }
    var host = HostMemory.Options()
    host.deviceFrames = min(SlotBackings.deviceFrames, buffers.memory.frameCount / 4)
    let memory = buffers.makeHost(host)
    let ground = StageGround(memory, on: buffers)
    let process: HostAddressSpace
    do throws(HostRegionError) {
      process = try HostAddressSpace(sharing: memory)
    } catch {
      throw StageError("host-memory: more than \(settings.hostBytes) bytes were expected")
    }
    var watch = VirtualMachine.Watch()
    if options.traceLimit > 0 { watch.tap = log.tap }
    let scheduler = Scheduler(.seeded(0))
    watch.interleaver = options.interleaver ?? scheduler.interleaver
    let machine = VirtualMachine(configuration, process: process, watch: watch)
    machine.slots.limitMetadata(toBytes: 1 << 28)
    self.scheduler = scheduler
    self.log = log
    self.ground = ground
    reference = Reference(configuration)
    self.machine = machine
    if let seed = settings.mischief { mischief = Mischief(seed: seed, keeping: 0) }
  }

  /// Performs one operation.
  public func perform(_ operation: Operation) -> StepResult {
    if isStuck { return .error("EDEADLK") }
    if let problem = outsideMachine(operation) { return .error(problem) }
    scheduler.beginStep(of: operation.processor)
    defer { scheduler.endStep() }
    switch operation {
    case .memslot(let change): return set(change)
    case .write(let address, let bytes): return write(bytes, to: address)
    case .read(let address, let shape): return read(shape, from: address)
    case .registers(let change): return set(change)
    case .access(let step): return access(step)
    case .loadCR3(let processor, let value, let keepsTranslations):
      return loadCR3(processor, value, keepsTranslations)
    case .invalidatePage(let processor, let address):
      return invalidate(processor, .linearAddress(address))
    case .invalidateContext(let processor, let type, let pcid, let address):
      return invalidateContext(processor, type, pcid, address)
    case .host(let action, let address, let byteCount):
      return perform(action, at: address, byteCount)
    case .zapAll:
      machine.zapAll()
      return .done
    case .trim(let count):
      machine.trim(count)
      return .done
    case .evict(let processor): return evict(processor)
    case .refuse(let refusal):
      machine.process.host.refuse(refusal.policy)
      reference.supply = refusal == .never ? .plentiful : .scarce
      return .done
    case .counters(let processor): return .counters(counters(of: processor))
    case .tracepoints:
      defer { log.removeAll() }
      return .tracepoints(log.lines(settings.vendor == .intel ? .intel : .amd))
    case .tableEntry(let address, let level, let space):
      // Tables in the place of the guest's own are asked by linear address.
      return settings.mmu == .shadow ? .error("EINVAL") : entry(at: address, level, space)
    case .shadowEntry(let processor, let address, let level):
      return shadowEntry(of: processor, at: address, level)
    case .subpageEntry(let address, let level, let space):
      return subpageEntry(at: address, level, space)
    case .subpage(let step): return perform(step)
    case .processorTLB(let processor, let address): return .kept(keeps(address, processor))
    case .check: return inspect().map { .violation($0) } ?? .done
    case .interleave(let interleaving): return interleave(interleaving)
    }
  }

  /// Checks every invariant of the machine, and everything that processors keep; the first
  /// violation.
  public func inspect() -> Violation? { MachineInspection.violation(in: machine) }

  /// Why an operation names something that the machine does not have.
  private func outsideMachine(_ operation: Operation) -> String? {
    guard let processor = operation.processor else { return nil }
    return 0..<settings.processors ~= processor ? nil : "ENXIO"
  }

  // MARK: What is looked at

  private func counters(of processor: Int) -> [String: Int64] {
    var values: [String: Int64] = [:]
    for counter in MachineCounter.allCases { values["\(counter)"] = machine.statistic(counter) }
    for counter in ProcessorCounter.allCases {
      values["\(counter)"] = machine.statistic(counter, of: processor)
    }
    return values
  }

  private func keeps(_ address: GuestVirtual, _ processor: Int) -> Bool {
    if machine.hasRequests(of: processor) { return false }
    for place in 0..<machine.translationCapacity(of: processor) {
      guard let kept = machine.keptTranslation(in: place, of: processor) else { continue }
      if kept.linear == address.aligned(to: kept.level) { return true }
    }
    return false
  }
}

/// Why a stage cannot be set up.
public struct StageError: Error, Hashable, Sendable {
  /// What was expected, as a sentence.
  public var message: String

  /// A reason.
  init(_ message: String) { self.message = message }
}

extension Operation {
  /// The processor that the operation names.
  var processor: Int? {
    switch self {
    case .registers(let change): change.processor
    case .access(let step): step.processor
    case .loadCR3(let processor, _, _), .invalidatePage(let processor, _),
      .invalidateContext(let processor, _, _, _), .evict(let processor),
      .counters(let processor), .processorTLB(let processor, _),
      .shadowEntry(let processor, _, _):
      processor
    case .memslot, .write, .read, .host, .zapAll, .trim, .refuse, .tracepoints, .tableEntry, .check,
      .interleave, .subpage, .subpageEntry:
      nil
    }
  }
}

extension Refusal {
  /// The refusal in the host's words.
  var policy: RefusalPolicy {
    switch self {
    case .never: .never
    case .once(let number): .once(number)
    case .from(let number): .from(number)
    case .every(let number): .every(max(1, number))
    }
  }
}
