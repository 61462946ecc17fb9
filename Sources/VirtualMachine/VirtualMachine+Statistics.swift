public import HardwareModel
public import MachineEvents
import PageTables
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
}
