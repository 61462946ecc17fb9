public import HardwareModel
public import MachineEvents
import PageTables
public import PagingUnits
import ShadowMMU
import Synchronization

/// What a machine counted.
extension VirtualMachine {
  /// A statistic of the machine.
  public func statistic(_ counter: MachineCounter) -> Int64 {
    // SAFETY: the board lives as long as the machine.
    switch counter {
    case .remote_tlb_flush: unsafe board.pointee.flushes.load(ordering: .relaxed)
    case .remote_tlb_flush_requests: unsafe board.pointee.flushRequests.load(ordering: .relaxed)
    default: tables.counters.value(of: counter)
    }
  }

  /// A statistic of a processor.
  public func statistic(_ counter: ProcessorCounter, of number: Int) -> Int64 {
    // SAFETY: the number is checked by `processor`.
    unsafe processor(number).pointee.counters.value(of: counter)
  }

  /// Adds to a statistic that the VMM keeps for a processor (I/O exits, emulated instructions).
  public func count(_ counter: ProcessorCounter, of number: Int) {
    // SAFETY: the number is checked by `processor`.
    unsafe processor(number).pointee.counters.add(to: counter)
  }

  /// What a processor's hardware counted; the caller is the thread that runs it.
  public func hardwareCounters(of number: Int) -> HardwareCounters {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.counters
  }

  /// The bytes of host memory that tables occupy now, stocked ones included.
  public var tableBytes: UInt64 { UInt64(tables.arena.tableCount) << 12 }

  /// How many tables are in use now: linked, kept to be found again, or bare.
  ///
  /// For reports; no processor of the machine runs meanwhile.
  public var liveTableCount: Int {
    var count = tables.arena.liveCount
    for number in 0..<configuration.processors {
      // SAFETY: no processor runs meanwhile.
      count += unsafe processor(number).pointee.shadow.special.count
    }
    return count
  }
}

/// What those who check a machine may look at.
extension VirtualMachine {
  /// How many translations a processor's TLB has room for.
  public func translationCapacity(of number: Int) -> Int {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.capacity
  }

  /// The translation that a processor's TLB keeps in a place; `nil` where none is.
  public func keptTranslation(in place: Int, of number: Int) -> HardwareModel.Processor.Kept? {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.keptTranslation(in: place)
  }

  /// Whether something is asked of a processor that it has not served yet: until it has, what it
  /// keeps may be stale, and it uses none of it.
  public func hasRequests(of number: Int) -> Bool {
    // SAFETY: the board lives as long as the machine.
    unsafe board.pointee.hasRequests(number)
  }

  /// How many places of guest-physical pages a processor keeps between walks at most.
  public func placeCapacity(of number: Int) -> Int {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.placeCapacity
  }

  /// The place of a guest-physical page that a processor keeps between walks; `nil` where none is.
  public func keptPlace(
    at index: Int, of number: Int
  ) -> HardwareModel.Processor.KeptPlace? {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.keptPlace(at: index)
  }

  /// How many vectors of sub-page permissions a processor keeps at most.
  public func vectorCapacity(of number: Int) -> Int {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.vectorCapacity
  }

  /// The vector of sub-page permissions that a processor keeps; `nil` where none is.
  public func keptVector(
    at index: Int, of number: Int
  ) -> HardwareModel.Processor.KeptVector? {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.keptVector(at: index)
  }

  /// How many tables of the guest's a processor keeps between walks at most.
  public func tableCapacity(of number: Int) -> Int {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.tableCapacity
  }

  /// The table of the guest's that a processor keeps between walks; `nil` where none is.
  public func keptTable(at index: Int, of number: Int) -> HardwareModel.Processor.KeptTable? {
    // SAFETY: the processor is the caller's own.
    unsafe processor(number).pointee.hardware.keptTable(at: index)
  }

  /// The frame of the table at which a processor's walks of the second dimension start; `nil` while
  /// it has none, and then it uses nothing that it keeps.
  public func rootFrame(of number: Int) -> HostFrame? {
    // SAFETY: the processor is the caller's own.
    let root = unsafe processor(number).pointee.root
    return root == .none ? nil : tables.arena[root].frame
  }
}
