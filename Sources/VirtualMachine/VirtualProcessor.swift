import DirectMMU
import HardwareModel
import MachineEvents
import PageTables
import PagingUnits
import ShadowMMU

/// A virtual processor: the guest's registers, the hardware it runs on, its root, and what the MMU
/// keeps for it (KVM: `struct kvm_vcpu`).
struct VirtualProcessor: ~Copyable {
  /// The registers that take part in paging.
  var registers = ControlRegisters()
  /// The instruction pointer, for tracepoints.
  var instructionPointer: UInt64 = 0
  /// Which memslots it goes by.
  var space = AddressSpace.normal
  /// The hardware's TLB and walker.
  var hardware: Processor
  /// What the MMU keeps between faults.
  var faultState = FaultState()
  /// The root that the hardware walks.
  var root: ShadowPageID = .none
  /// The root of the sub-page-permission tables that the hardware walks; `.none` while protection
  /// is off.
  var subpageRoot: ShadowPageID = .none
  /// Whether an IRET lifted the blocking of NMIs and then did not complete, so that they are
  /// blocked again.
  var blocksNMI = false
  /// What the shadow MMU keeps, its root among it.
  var shadow = ShadowState()
  /// The registers with which the hardware runs under shadow paging.
  var hardwareRegisters = ControlRegisters()
  /// Its statistics.
  let counters = CounterRow()

  init(hardware: consuming Processor) { self.hardware = hardware }
}
