import HostMemory
import MachineChecks
import SparseMemory

/// What a stage stands on: the host's memory, which stays when the machine has ended and shows what
/// it left behind.
final class StageGround {
  // The share ends before what it lies on.
  private let host: HostMemory
  private let buffers: SparseHost
  private let remains: MachineRemains

  /// The ground of a machine that is not made yet.
  init(_ host: borrowing HostMemory, on buffers: SparseHost) {
    self.host = host.share()
    self.buffers = buffers
    remains = MachineRemains(host)
  }

  /// What a machine that has ended left behind and should not have.
  var violation: Violation? { remains.violation(in: host) }
}
