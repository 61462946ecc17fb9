public import HostMemory
import PagingUnits

/// Why a run of the processor ended.
public enum ProcessorExit: Hashable, Sendable {
  /// HLT with interrupts off.
  case halted
  /// HLT with interrupts on, and nothing armed that could end it.
  case waitingForever
  /// Somebody called `requestStop`.
  case stopRequested
  /// The port answered `stop`.
  case portStopped
  /// An exception could not be delivered, nor the double fault that followed; the last event.
  case tripleFault(GuestEvent)
  /// The guest did what this processor does not do; one line that says what.
  case unsupported(String)
  /// The engine failed in a way that no guest can cause; its own words.
  case engineFailure(String)
}

/// One guest processor: Unicorn executes the instructions, the port translates every address.
///
/// ```text
///   Unicorn ── TLB miss ──▶ fill ──▶ port ──▶ the machine
///      │  #PF and its kin, INT n, HLT, MOV CR3, INVLPG, WRMSR …
///      ▼
///    run ── delivers through the guest's IDT, changes state, restarts
/// ```
///
/// It starts in flat 32-bit protected mode with paging off, as the Multiboot specification wants.
/// 16-bit real mode and virtual-8086 mode are not supported; nor are task switches.
public final class Processor {
  /// What CPUID tells the guest.
  public let features: ProcessorFeatures
  /// The number of exceptions and interrupts delivered.
  public internal(set) var deliveredEvents: UInt64 = 0
  /// The number of TLB misses that came to the port.
  public internal(set) var fills: UInt64 = 0

  let engine: Engine
  let memory: PhysicalMemory
  let port: GuestPort
  let layout: ContextLayout
  let context: SavedContext
  let rules: ControlRules
  var msrs = ModelSpecificRegisters()

  /// The control state as the port knows it.
  var controls = ControlRegisters()
  /// What stopped the engine, if one of the hooks did.
  var pending = Pending.nothing
  /// The pages that one instruction may reach although they are refused in general.
  var exceptions = SteppedGrants()
  /// The page whose exact faulting address is being found, if any.
  var probe: Probe?
  var codePages = CodePageTable()
  /// The engine asks for addresses that stand for physical ones (`aliasBit`).
  var isForgettingCode = false
  var deviceWindow = DeviceWindow()

  /// An interrupt is waiting in the port.
  public private(set) var interruptRequested = false
  var virtualTime: UInt64 = 0
  var timerDeadline = UInt64.max
  var watchesBlocks = false

  /// Stops the run from any thread.
  public let stopHandle: StopHandle

  /// Why a hook stopped the engine.
  enum Pending {
    case nothing
    case refused(FillRequest, errorCode: UInt32)
    case nonCanonical(FillRequest)
    case event(GuestEvent)
    /// The engine raised an exception or executed INT n.
    case raised(vector: UInt8)
    /// The port lets one access through; the grant is noted already.
    case step
    /// The bytes of a code page changed behind the engine's back.
    case codeChanged(HostFrame)
    case systemCall, systemEnter
    case interruptWindow
    case settings
    case portStop
    case unsupported(String)
  }

  /// Makes a processor over the host's memory, whose buffer must outlive it; the port is held for
  /// the processor's life.
  public init(
    memory: PhysicalMemory, port: GuestPort, features: ProcessorFeatures, library: UnicornLibrary
  ) throws(UnicornError) {
    self.memory = memory
    self.port = port
    self.features = features
    rules = ControlRules(features: features)
    engine = try Engine(library: library)
    stopHandle = StopHandle(engine)
    layout = try Calibration.run(on: engine)
    context = try engine.allocateContext()
    controls.cr0 = 0x11
    // SAFETY: the arena's buffer outlives the processor by the contract above.
    try engine.check(
      unsafe engine.map(memory.unsafeBase, at: 0, byteCount: memory.byteCount),
      "the arena of host frames")
    try installHooks()
  }

  /// Puts the processor where the Multiboot specification wants it: at `entry`, with EAX and EBX.
  public func enter(at entry: UInt32, eax: UInt32, ebx: UInt32) {
    engine[.rip] = UInt64(entry)
    engine[.rax] = UInt64(eax)
    engine[.rbx] = UInt64(ebx)
    engine.setTable(.gdtr, base: 0, limit: 0)
    engine.setTable(.idtr, base: 0, limit: 0)
  }

  // MARK: Called by the port and its owner

  /// Forgets every cached translation; also right in the middle of a `fill`.
  public func flushTranslations() { engine.flushTLB() }

  /// Stops the run soon.
  public func requestStop() { stopHandle.stop() }

  /// Says that `acknowledgeInterrupt` has a vector, as soon as the guest takes interrupts.
  public func requestInterrupt() {
    interruptRequested = true
    watchBlocks()
  }

  /// Calls the port's `timerExpired` when virtual time reaches `deadline`; `nil` disarms.
  public func armTimer(at deadline: UInt64?) {
    timerDeadline = deadline ?? .max
    if deadline != nil { watchBlocks() }
  }

  /// Where the guest is: exact between instructions, and else the last place the engine noted.
  public var instructionPointer: UInt64 { engine[.rip] }

  /// Virtual time: it advances with executed blocks, TSC reads and exits, so that it is the same
  /// in every run.
  public var now: UInt64 { virtualTime }

  private func watchBlocks() {
    guard !watchesBlocks else { return }
    suspend(for: .settings)
  }

  // MARK: Running

  /// Runs the guest until it ends or somebody stops it.
  public func run() -> ProcessorExit {
    while true {
      if stopHandle.take() { return .stopRequested }
      virtualTime &+= 1
      if virtualTime >= timerDeadline { expireTimer() }
      if interruptRequested, let exit = deliverInterrupt() { return exit }
      if !watchesBlocks && (interruptRequested || timerDeadline != .max) {
        if let exit = startWatchingBlocks() { return exit }
      }
      pending = .nothing
      let error = exceptions.isEmpty ? engine.start(at: engine[.rip]) : step()
      if let exit = settle(error) { return exit }
    }
  }

  /// Stops the engine for a reason; the first reason counts.
  func suspend(for reason: Pending) {
    if case .nothing = pending { pending = reason }
    engine.stop()
  }

  func expireTimer() {
    timerDeadline = .max
    port.timerExpired()
  }

  private func deliverInterrupt() -> ProcessorExit? {
    guard engine[.flags] & 1 << 9 != 0 else { return nil }
    engine.save(to: context)
    guard context[word: layout.hiddenFlags] & layout.shadow == 0 else { return nil }
    interruptRequested = false
    guard let vector = port.acknowledgeInterrupt() else { return nil }
    return deliver(GuestEvent(vector: vector, origin: .external))
  }

  private func startWatchingBlocks() -> ProcessorExit? {
    do {
      try installBlockHook()
    } catch {
      return .engineFailure(error.description)
    }
    watchesBlocks = true
    // Blocks translated so far do not call the hook.
    engine.forgetBlocks()
    return nil
  }

  /// Runs one instruction, the one for which `exceptions` were made.
  ///
  /// A limit of one instruction would not do: the engine counts blocks that it has translated
  /// already as one. The trap flag ends every instruction, in blocks of its own.
  private func step() -> Int32 {
    let wasTrapping = engine[.flags] & Self.trapFlag
    let debugStatus = engine[.dr6]
    let instruction = currentInstruction()
    if port.watchesStores { engine.save(to: context) }
    engine[.flags] |= Self.trapFlag
    let error = engine.start(at: engine[.rip])
    if port.takesBackStep() {
      engine.restore(from: context)
      engine.flushTLB()
      exceptions = SteppedGrants()
      pending = .portStop
      return error
    }
    engine[.dr6] = debugStatus
    if instruction?.loadsFlags != true {
      engine[.flags] = engine[.flags] & ~Self.trapFlag | wasTrapping
    }
    guard case .raised(vector: 1) = pending else {
      // Another refusal leaves the instruction to be run once more, with one more exception.
      if case .nothing = pending { finishStep() }
      return error
    }
    pending = wasTrapping == 0 ? .settings : .event(GuestEvent(vector: 1, origin: .trap))
    if instruction?.pushesFlags == true, wasTrapping == 0 { hidePushedTrapFlag() }
    finishStep()
    return error
  }

  /// PUSHF stored the trap flag that is not the guest's.
  private func hidePushedTrapFlag() {
    let address = linear(engine[.rsp])
    guard let frame = exceptions.frame(for: address & ~0xFFF) else { return }
    let place = HostPhysical(frame.address.raw + (address & 0xFF8))
    // Bit 8 of a little-endian word: the lowest bit of its second byte.
    memory.setEntry(memory.entry(at: place) & ~(1 << (8 * (address & 7) + 8)), at: place)
  }

  /// EFLAGS.TF.
  static let trapFlag: UInt64 = 1 << 8

  /// The instruction that was let through has completed.
  private func finishStep() {
    let grants = exceptions
    exceptions = SteppedGrants()
    engine.flushTLB()
    for index in 0..<grants.count {
      guard let frame = grants[index].frame else { continue }
      port.storeCompleted(in: GuestVirtual(grants[index].page), frame: frame)
    }
  }

  /// Works off what stopped the engine; `nil` to go on.
  private func settle(_ error: Int32) -> ProcessorExit? {
    switch pending {
    case .refused(let request, let errorCode): return settleRefusal(request, errorCode)
    case .nonCanonical(let request): return settleNonCanonical(request)
    case .event(let event): return deliver(event)
    case .raised(let vector): return settleRaised(vector)
    case .codeChanged(let frame):
      forgetCode(in: frame)
      return nil
    case .systemCall: return systemCall()
    case .systemEnter: return systemEnter()
    case .step, .interruptWindow, .settings: return nil
    case .portStop: return .portStopped
    case .unsupported(let what): return .unsupported(what)
    case .nothing: break
    }
    switch error {
    case 0: return settleHalt()
    case 10: return settleInvalidInstruction()
    default: return .engineFailure(engine.describe(error))
    }
  }

  /// The engine stopped by itself: at a HLT, or because somebody asked.
  private func settleHalt() -> ProcessorExit? {
    if stopHandle.isRequested { return nil }
    guard engine[.flags] & 1 << 9 != 0 else { return .halted }
    if interruptRequested { return nil }
    guard timerDeadline != .max else { return .waitingForever }
    virtualTime = max(virtualTime, timerDeadline)
    expireTimer()
    // A timer that is masked wakes nobody.
    return interruptRequested || timerDeadline != .max ? resumeHalt() : .waitingForever
  }

  /// Goes on after a HLT that a timer ended; without an interrupt to take, it halts again.
  private func resumeHalt() -> ProcessorExit? {
    interruptRequested ? nil : settleHalt()
  }
}
