public import DirectMMU
public import GuestMemory
import HardwareModel
public import HostMemory
public import MachineEvents
public import PageTables
import PagingUnits
public import ShadowMMU
public import SubpageProtection

/// A machine: one guest's memory, its tables, and the processors that walk them.
///
/// This is the façade. Each operation is shaped like one of KVM's ioctls, or like one step of a
/// processor, and calls one room. A processor belongs to the thread that runs it; operations of
/// the VMM and of the host take the machine's own lock and may come from any thread.
@safe public struct VirtualMachine: ~Copyable, @unchecked Sendable {
  /// What the machine is made of.
  public let configuration: MachineConfiguration
  /// The host process whose memory is the guest's.
  public let process: HostAddressSpace
  /// The guest's memory layout.
  public let slots: GuestMemory
  /// The tables that the MMU built.
  public let tables: PageTables
  /// Two-dimensional paging.
  public let direct: DirectMMU
  /// Shadow paging.
  public let shadow: ShadowMMU
  /// Sub-page write permissions.
  public let subpages: SubpageProtection
  let operations: YieldingLock
  let processors: UnsafeMutablePointer<VirtualProcessor>
  let board: UnsafeMutablePointer<ProcessorBoard>

  /// Who watches a machine and who is let in between its steps.
  public struct Watch: Sendable {
    /// Where tracepoints go.
    public var tap = EventTap()
    /// Who is let in at interleaving points.
    public var interleaver = Interleaver()
    /// Nobody.
    public init() {}
  }

  /// A machine without memory slots, in a host process that it takes over.
  public init(
    _ configuration: MachineConfiguration, process: consuming HostAddressSpace,
    watch: Watch = Watch()
  ) {
    precondition(1...4095 ~= configuration.processors, "a machine has 1 to 4095 processors")
    self.configuration = configuration
    let memory = process.host.memory
    do throws(EncryptionBitError) {
      try configuration.checkEncryption(memoryBytes: memory.byteCount)
    } catch {
      preconditionFailure("the encryption bit fits the host (MachineConfiguration.checkEncryption)")
    }
    let encryption = configuration.encryptionBit.map { bit in
      MemoryEncryption(bit: bit, of: process.host)
    }
    // SAFETY: a fresh allocation, freed in `deinit`.
    unsafe board = .allocate(capacity: 1)
    // SAFETY: one element, freed in `deinit`.
    unsafe board.initialize(
      to: ProcessorBoard(count: configuration.processors, interleaver: watch.interleaver))
    // SAFETY: the board is freed after the tables that hold the flusher.
    let flusher = unsafe TranslationFlusher(context: UnsafeMutableRawPointer(board)) {
      context, _, _ in
      // SAFETY: the board lives as long as the machine whose tables hold the flusher.
      unsafe context.assumingMemoryBound(to: ProcessorBoard.self).pointee.flushAll()
    }
    tables = PageTables(
      in: memory, encoding: configuration.encoding,
      limits: PageTables.Limits(
        tables: configuration.tableLimit, readers: configuration.processors + 1,
        shadowing: configuration.mmu == .shadow ? .shadowed : .unused),
      tap: watch.tap, interleaver: watch.interleaver, flusher: flusher)
    slots = GuestMemory(options: configuration.slotOptions)
    direct = DirectMMU(configuration.directConfiguration)
    shadow = ShadowMMU(configuration.shadowConfiguration)
    subpages = SubpageProtection(configuration.subpageConfiguration)
    operations = YieldingLock(interleaver: watch.interleaver)
    self.process = process
    unsafe processors = .allocate(capacity: configuration.processors)
    for index in 0..<configuration.processors {
      let hardware = Processor(
        memory: memory, features: configuration.hardwareFeatures, encryption: encryption)
      // SAFETY: the index lies inside the allocation.
      unsafe (processors + index).initialize(to: VirtualProcessor(hardware: hardware))
    }
  }

  deinit {
    for index in 0..<configuration.processors {
      // SAFETY: initialized in `init`, and nobody runs a machine that ends.
      let processor = unsafe processors + index
      if configuration.mmu == .shadow { unsafe endShadow(processor) }
      if unsafe processor.pointee.root != .none {
        unsafe direct.putRoot(processor.pointee.root, tables)
      }
      unsafe putSubpageRoot(processor)
      unsafe tables.drain(&processor.pointee.faultState.cache, to: process.host)
      unsafe processor.deinitialize(count: 1)
    }
    if configuration.mmu == .shadow {
      shadow.invalidateAll(tables)
      shadow.zapObsolete(tables, slots, process.host)
    }
    direct.invalidateAllRoots(tables)
    subpages.dropInvalidatedRoots(tables, process.host)
    direct.zapInvalidatedRoots(tables, process.host)
    tables.reclaim(to: process.host)
    precondition(tables.arena.tableCount == 0, "a machine that ends leaves no table behind")
    unsafe processors.deallocate()
    // SAFETY: initialized in `init`; the tables that could reach it flush nothing any more.
    unsafe board.deinitialize(count: 1)
    unsafe board.deallocate()
  }

  /// A processor; the caller is the thread that runs it.
  func processor(_ number: Int) -> UnsafeMutablePointer<VirtualProcessor> {
    precondition(
      0 <= number && number < configuration.processors, "a machine numbers its processors from 0")
    // SAFETY: the number was checked.
    return unsafe processors + number
  }

  /// The reader number of the VMM's and the host's operations.
  var operationReader: Int { configuration.processors }
}
