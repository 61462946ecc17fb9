import MachineChecks
import MachineEvents
import PagingUnits
import Testing
import VirtualMachine

/// The stress test: many threads on one machine, a fixed number of steps each.
///
/// When all have come to their end everything is checked. `Scripts/check-threads` runs it under the
/// thread sanitizer.
@Suite("Processors, host and VMM in parallel", .serialized)
struct ParallelTests {
  /// A processor's way with accessed bits, and a seed.
  static let machines: [(ParallelMachine.Kind, UInt64)] = [
    (.intel, 1), (.intel, 2), (.intelWithoutAccessedBits, 3), (.amd, 4), (.shadow, 5),
    (.shadowWithLocalPages, 6),
  ]

  @Test(
    "processors fault while the host moves pages and the VMM changes slots, and all come to an end",
    arguments: machines)
  func everybodyAtOnce(kind: ParallelMachine.Kind, seed: UInt64) throws {
    let machine = try ParallelMachine(kind)
    let work: [ParallelWork] = [
      .processor(0), .processor(1), .walker(2), .mover, .sizer, .ager, .arranger, .bytes,
    ]
    let tally = machine.run(work, seed: seed, steps: 300)
    // Nobody was idle: a test in which nothing happens proves nothing.
    for part in work { #expect(tally.successes(of: part) > 20, "\(part)") }
    #expect(machine.machine.statistic(.remote_tlb_flush_requests) > 100)
    #expect(try machine.violationAtRest() == nil)
  }

  @Test("processors race to build, split and replace the same few tables", arguments: machines)
  func fewTables(kind: ParallelMachine.Kind, seed: UInt64) throws {
    let machine = try ParallelMachine(kind)
    let work: [ParallelWork] = [.crowd(0), .crowd(1), .crowd(2), .sizer, .zapper]
    let tally = machine.run(work, seed: seed &+ 100, steps: 400)
    for part in work { #expect(tally.successes(of: part) > 20, "\(part)") }
    #expect(try machine.violationAtRest() == nil)
  }

  @Test(
    "the VMM's bytes stay what they are while their pages are moved, swapped, shared and split",
    arguments: machines)
  func bytesStay(kind: ParallelMachine.Kind, seed: UInt64) throws {
    let machine = try ParallelMachine(kind)
    let work: [ParallelWork] = [.bytes, .mover, .sizer, .processor(0), .walker(1)]
    let tally = machine.run(work, seed: seed &+ 200, steps: 300)
    for part in work { #expect(tally.successes(of: part) > 20, "\(part)") }
    #expect(try machine.violationAtRest() == nil)
  }

  @Test(
    "a layout that changes again and again is seen whole or not at all", arguments: machines)
  func layouts(kind: ParallelMachine.Kind, seed: UInt64) throws {
    let machine = try ParallelMachine(kind)
    let work: [ParallelWork] = [.arranger, .zapper, .processor(0), .crowd(1), .ager]
    let tally = machine.run(work, seed: seed &+ 300, steps: 300)
    for part in work { #expect(tally.successes(of: part) > 20, "\(part)") }
    #expect(try machine.violationAtRest() == nil)
  }

  @Test(
    "guests change tables and modes while others walk them, the host moves pages and tables go",
    arguments: [(ParallelMachine.Kind.shadow, 7 as UInt64), (.shadowWithLocalPages, 8)])
  func tablesThatChange(kind: ParallelMachine.Kind, seed: UInt64) throws {
    let machine = try ParallelMachine(kind)
    let work: [ParallelWork] = [
      .editor(0), .editor(1), .walker(2), .mover, .sizer, .ager, .zapper, .bytes,
    ]
    let tally = machine.run(work, seed: seed &+ 400, steps: 300)
    for part in work { #expect(tally.successes(of: part) > 20, "\(part)") }
    #expect(try machine.violationAtRest() == nil)
  }
}
