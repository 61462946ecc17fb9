import Glibc
import GuestMemory
public import GuestProcessor
import HardwareModel
import HostMemory
import MachineEvents
import PagingUnits
import SparseMemory
import VirtualMachine

/// Why a run could not start.
public enum RunError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The image cannot be booted.
  case image(ImageError)
  /// Unicorn cannot be used.
  case processor(UnicornError)
  /// The host has no room for the guest; what was asked for.
  case memory(String)
  /// What is to be protected cannot be; why.
  case protection(String)

  /// One line for a person.
  public var description: String {
    switch self {
    case .image(let error): error.description
    case .processor(let error): error.description
    case .memory(let what), .protection(let what): what
    }
  }
}

/// A guest that is loaded and ready to run, once.
public final class GuestRun {
  private let port: MachinePort
  private let processor: GuestProcessor.Processor
  private let image: GuestImage
  private let timeout: Double?
  private let console: GuestConsole

  /// Builds the machine, and loads the image into its memory; Unicorn is looked for if not given.
  public init(
    _ configuration: RunConfiguration, console: GuestConsole, library: UnicornLibrary? = nil
  ) throws(RunError) {
    timeout = configuration.timeout
    self.console = console
    let layout = GuestMemoryLayout(byteCount: configuration.memoryBytes)
    let boot: BootInformation
    do throws(ImageError) {
      image = try GuestImage(configuration.image, as: configuration.kind)
      try image.check(memoryEnd: layout.lowEnd)
      boot = try BootInformation(configuration.bootContents(image, layout))
    } catch {
      throw .image(error)
    }
    let unicorn: UnicornLibrary
    do throws(UnicornError) {
      if let library { unicorn = library } else { unicorn = try UnicornLibrary() }
    } catch {
      throw .processor(error)
    }
    let host: SparseHost
    do throws(SparseBuffer.Failure) {
      host = try SparseHost(byteCount: configuration.hostBytes)
    } catch {
      throw .memory("the system does not give \(configuration.hostBytes) bytes of address space")
    }
    port = MachinePort(
      machine: try configuration.makeMachine(on: host, layout), on: host, console: console,
      devices: PlatformDevices(
        memoryBytes: layout.byteCount, commandLine: configuration.commandLine),
      tap: configuration.tap, maximumExits: configuration.maximumExits)
    port.checks = configuration.checks
    port.protection = try MemoryProtection(configuration, image.symbols, layout, port.machine)
    do throws(UnicornError) {
      processor = try GuestProcessor.Processor(
        memory: host.memory, port: port, features: configuration.features, library: unicorn)
    } catch {
      throw .processor(error)
    }
    port.attach(to: processor)
    try load(configuration, boot)
    processor.enter(at: image.entry, eax: MultibootHeader.loaderMagic, ebx: boot.address)
  }

  private func load(
    _ configuration: RunConfiguration, _ boot: BootInformation
  ) throws(RunError) {
    for segment in image.segments {
      // The rest of a segment is zero already: the memory is new.
      try write(configuration.image, segment.file, at: segment.address)
    }
    for (module, address) in zip(configuration.modules, boot.moduleAddresses) {
      try write(module.bytes, 0..<UInt64(module.bytes.count), at: address)
    }
    for piece in boot.pieces {
      try write(piece.bytes, 0..<UInt64(piece.bytes.count), at: piece.address)
    }
  }

  private func write(
    _ bytes: [UInt8], _ range: Range<UInt64>, at address: UInt64
  ) throws(RunError) {
    let part = bytes.span.extracting(Int(range.lowerBound)..<Int(range.upperBound))
    // SAFETY: bytes have no padding, and the array outlives the write.
    let done = unsafe port.machine.write(part.bytes, to: GuestPhysical(address))
    guard done == part.count else {
      throw .memory("the host cannot give guest-physical \(hex(address + UInt64(done)))")
    }
  }

  /// Runs the guest to its end.
  public func run() -> RunReport {
    let start = ContinuousClock.now
    let watchdog = timeout.flatMap { Watchdog(processor.stopHandle, seconds: $0) }
    let exit = processor.run()
    let elapsed = ContinuousClock.now - start
    watchdog?.finish()
    console.flush()
    let seconds =
      Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
    return report(ending(exit, expired: watchdog?.expired == true), seconds: seconds)
  }

  private func ending(_ exit: ProcessorExit, expired: Bool) -> RunEnding {
    if let ending = port.ending { return ending }
    return switch exit {
    case .halted: .halted
    case .waitingForever: .waitingForever
    case .tripleFault(let event): .tripleFault(event)
    case .unsupported(let what): .unsupported(what)
    case .engineFailure(let what): .hostFailure("Unicorn failed: \(what)")
    case .stopRequested, .portStopped:
      expired ? .timeout : .hostFailure("the run was stopped from outside")
    }
  }

  private func report(_ ending: RunEnding, seconds: Double) -> RunReport {
    let state = processor.state
    let recent = port.recent.inOrder
    let fills = processor.fills
    // Explaining an address walks for it, so the counters come first.
    let machine = MachineCounter.allCases.map { ($0, port.machine.statistic($0)) }
    let mine = ProcessorCounter.allCases.map { ($0, port.machine.statistic($0, of: 0)) }
    let hardware = port.machine.hardwareCounters(of: 0)
    let tableBytes = port.machine.tableBytes
    let liveTables = port.machine.liveTableCount
    let explanations = [
      ("RIP", state.rip), ("RSP", state.general[4]), ("CR2", state.controls.cr2),
    ].map { explain($0, GuestVirtual($1)) }
    var report = RunReport(
      ending: ending, state: state, recentExits: recent, symbols: image.symbols,
      explanations: explanations, machineCounters: machine, processorCounters: mine,
      tableBytes: tableBytes, liveTables: liveTables, operations: port.operations, fills: fills,
      deliveredEvents: processor.deliveredEvents,
      guestReferences: hardware.guestReferences, secondReferences: hardware.secondReferences,
      walks: hardware.misses, outputBytes: console.byteCount, seconds: seconds)
    report.protection = port.protection
    return report
  }

  private func explain(_ register: String, _ address: GuestVirtual) -> AddressExplanation {
    let words =
      switch port.machine.access(0, address, .read, .implicitSupervisor) {
      case .translated(let translation), .tableStore(let translation),
        .subpageRefused(let translation):
        "guest-physical \(hex(translation.guestPhysical.raw)), host-physical "
          + "\(hex(translation.hostPhysical.raw)), a page of "
          + "\(translation.level.byteCount >> 10) KiB"
      case .pageFault(let code): "page fault with error code \(hex(UInt64(code)))"
      case .generalProtection: "not a canonical address"
      case .device(let physical): "no memory at guest-physical \(hex(physical.raw))"
      case .failed(let reason, let physical):
        "guest-physical \(hex(physical.raw)), which the host cannot give (\(reason))"
      case .subpageMiss(let physical):
        "guest-physical \(hex(physical.raw)), whose sub-page permissions are not there"
      case .subpageMisconfiguration(let physical):
        "guest-physical \(hex(physical.raw)), whose sub-page permissions are malformed"
      case .stuck(let physical): "guest-physical \(hex(physical.raw)), without progress"
      }
    return AddressExplanation(register: register, address: address, outcome: words)
  }
}

extension RunConfiguration {
  fileprivate func bootContents(
    _ image: GuestImage, _ layout: GuestMemoryLayout
  ) -> BootInformation.Contents {
    let words = commandLine.isEmpty ? imageName : "\(imageName) \(commandLine)"
    return BootInformation.Contents(
      commandLine: words, modules: modules.map { ($0.name, UInt64($0.bytes.count)) },
      memory: layout, image: image)
  }

  /// The machine, with its memory slots, on a host of its own.
  fileprivate func makeMachine(
    on host: SparseHost, _ layout: GuestMemoryLayout
  ) throws(RunError) -> VirtualMachine {
    var options = HostMemory.Options()
    options.scatter = .scattered(frames: min(scatterBytes, hostBytes) >> 12, seed: 1)
    let memory = host.makeHost(options)
    do throws(HostRegionError) {
      let process = try HostAddressSpace(sharing: memory)
      let page = backing.byteCount
      let rounded = (layout.byteCount + page - 1) & ~(page - 1)
      let base = try process.add(
        HostRegionRequest(byteCount: rounded, backing: .anonymous(largestPage: backing)))
      var watch = VirtualMachine.Watch()
      watch.tap = tap
      let machine = VirtualMachine(machineConfiguration, process: process, watch: watch)
      try Self.addSlots(to: machine, layout, base)
      return machine
    } catch {
      throw .memory("the host has no place for \(layout.byteCount) bytes of guest memory: \(error)")
    }
  }

  private static func addSlots(
    to machine: borrowing VirtualMachine, _ layout: GuestMemoryLayout, _ base: HostVirtual
  ) throws(HostRegionError) {
    do throws(MemslotError) {
      try machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: layout.lowEnd,
          hostAddress: base))
      guard layout.highByteCount > 0 else { return }
      try machine.setMemoryRegion(
        MemslotRegion(
          id: MemslotID(1), guestAddress: GuestPhysical(GuestMemoryLayout.highStart),
          byteCount: layout.highByteCount, hostAddress: base + layout.lowEnd))
    } catch {
      throw .size(layout.byteCount)
    }
  }

  private var machineConfiguration: MachineConfiguration {
    var configuration = MachineConfiguration()
    configuration.vendor = hostVendor ?? (features.vendor == .intel ? .intel : .amd)
    configuration.guestPhysicalBits = Int(features.physicalAddressBits)
    configuration.physicalBits = max(46, Int(features.physicalAddressBits))
    configuration.rootLevel = rootLevel
    configuration.mmu = mmu
    configuration.subpages = protected.isEmpty ? .absent : .present
    // What instructions store is protected, not what walks mark: a guest's tables may lie there.
    configuration.guestMarks = .permitted
    configuration.specialRoots = specialRoots
    configuration.keepsWalks = walkCaches
    return configuration
  }
}
