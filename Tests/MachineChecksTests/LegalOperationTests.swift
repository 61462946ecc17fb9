import DirectMMU
import GuestMemory
@testable import HostMemory
import MachineChecks
import PageTables
import PagingUnits
import SparseMemory
import Testing
import VirtualMachine

/// Random legal operations leave every rule alone.
@Suite("Legal operations")
struct LegalOperationTests {
  /// A machine, by what distinguishes it.
  enum Kind: CaseIterable {
    case ept, eptFiveLevels, eptWithoutMarks, npt, nptFiveLevels

    var configuration: MachineConfiguration {
      var configuration = MachineConfiguration()
      configuration.processors = 2
      switch self {
      case .ept: break
      case .eptFiveLevels: configuration.rootLevel = .level5
      case .eptWithoutMarks: configuration.accessedDirty = .absent
      case .npt: configuration.vendor = .amd
      case .nptFiveLevels:
        configuration.vendor = .amd
        configuration.rootLevel = .level5
        configuration.prefetch = .absent
      }
      return configuration
    }
  }

  @Test(
    "of guest, host and VMM break no rule, whatever their order",
    arguments: Kind.allCases, 1...3 as ClosedRange<UInt64>)
  func random(kind: Kind, seed: UInt64) throws {
    var history = try RandomHistory(kind.configuration, seed: seed)
    for step in 0..<250 {
      let what = history.step()
      if let violation = history.violation() {
        Issue.record("step \(step), \(what): \(violation)")
        return
      }
    }
    #expect(history.kindsOfStep > 12)
  }

  @Test("a machine that ends leaves nothing behind", arguments: Kind.allCases)
  func ending(kind: Kind) throws {
    let buffers = try SparseHost(byteCount: 4 << 30)
    let host = buffers.makeHost()
    let remains = MachineRemains(host)
    try live(host, kind.configuration)
    #expect(remains.violation(in: host) == nil)
    _ = host.allocate(.page4K, as: .table)
    #expect(remains.violation(in: host)?.rule == MachineRemains.rule)
  }

  private func live(
    _ host: borrowing HostMemory, _ configuration: MachineConfiguration
  ) throws {
    let process = try HostAddressSpace(sharing: host)
    let base = try process.add(
      HostRegionRequest(byteCount: 8 << 20, backing: .anonymous(largestPage: .page2M)))
    let machine = VirtualMachine(configuration, process: process)
    try machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), guestAddress: GuestPhysical(0), byteCount: 8 << 20, hostAddress: base))
    for address in stride(from: 0, to: 8 << 20, by: 0x7000) as StrideTo<UInt64> {
      _ = machine.access(0, GuestPhysical(address), .write)
    }
    #expect(machine.tables.arena.tableCount > 0)
  }
}
