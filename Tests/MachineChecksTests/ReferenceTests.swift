import GuestMemory
import HardwareModel
import HostMemory
import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

@Suite("The reference")
struct ReferenceTests {
  @Test("agrees with the machine in random worlds of every mode and vendor")
  func randomWorlds() throws {
    var seen = RandomWorld.Seen()
    for seed in 0..<600 as Range<UInt64> {
      var world = try RandomWorld(seed: seed)
      for step in 0..<150 {
        if let violation = try world.step() {
          Issue.record("seed \(seed), step \(step), \(world.mode): \(violation)")
          return
        }
      }
      seen.add(world.seen)
      #expect(world.bench.reference.openVerdicts == 0)
    }
    #expect(seen.memory * 5 > seen.accesses && seen.pageFaults * 10 > seen.accesses)
    let rare = [
      seen.stale, seen.reserved, seen.keyed, seen.generalProtections, seen.devices, seen.failures,
      seen.poisoned, seen.emulated,
    ]
    #expect((rare.min() ?? 0) > 10, "\(seen)")
  }
}
