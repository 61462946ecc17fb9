import MachineChecks
import MachineEvents
import Testing
import VirtualMachine

@Suite("Shadow paging beside a machine without")
struct LockstepTests {
  @Test(
    "a guest that edits its tables sees the same under shadow paging",
    arguments: GuestWorld.Mode.allCases, MachineConfiguration.SpecialRootKind.allCases)
  func oneMode(
    mode: GuestWorld.Mode, special: MachineConfiguration.SpecialRootKind
  ) throws {
    for seed in 1...8 as ClosedRange<UInt64> {
      var world = try GuestWorld(seed: seed, modes: [mode], special)
      try run(&world, [mode], seed, steps: 800)
    }
  }

  @Test(
    "a guest that switches modes sees the same under shadow paging",
    arguments: MachineConfiguration.SpecialRootKind.allCases)
  func allModes(special: MachineConfiguration.SpecialRootKind) throws {
    for seed in 100...106 as ClosedRange<UInt64> {
      var world = try GuestWorld(seed: seed, modes: GuestWorld.Mode.allCases, special)
      try run(&world, GuestWorld.Mode.allCases, seed, steps: 600)
    }
  }

  @Test("the guests of these tests reach what they are for")
  func coverage() throws {
    var total = Coverage()
    for seed in 200...212 as ClosedRange<UInt64> {
      var world = try GuestWorld(seed: seed, modes: GuestWorld.Mode.allCases, .tables)
      try run(&world, GuestWorld.Mode.allCases, seed, steps: 400)
      total.add(world)
    }
    #expect(total.isComplete, "\(total)")
  }

  /// How often the MMU did what only some histories make it do.
  private struct Coverage {
    var counts: [String: Int64] = [:]

    mutating func add(_ world: borrowing GuestWorld) {
      for counter in [
        MachineCounter.mmu_shadow_zapped, .mmu_pte_write, .mmu_pde_zapped, .mmu_flooded,
        .mmu_recycled, .mmu_cache_miss, .max_mmu_rmap_size,
      ] {
        counts["\(counter)", default: 0] += world.shadow.machine.statistic(counter)
      }
      counts["table stores", default: 0] += Int64(world.tableStores)
      counts["faults", default: 0] += Int64(world.faults)
      counts["large pages", default: 0] += Int64(world.largePages)
      counts["out of sync", default: 0] += Int64(world.outOfSync)
    }

    var isComplete: Bool { counts.count == 11 && counts.values.allSatisfy { $0 > 0 } }
  }

  private func run(
    _ world: inout GuestWorld, _ modes: [GuestWorld.Mode], _ seed: UInt64, steps: Int
  ) throws {
    for step in 0..<steps {
      if let found = world.step(modes: modes) {
        Issue.record("seed \(seed), step \(step): \(found)")
        return
      }
      world.note()
      guard step % 20 == 19 else { continue }
      if let found = world.difference() {
        Issue.record("seed \(seed), step \(step): \(found)")
        return
      }
      if let found = ShadowTables.violation(in: world.shadow.machine) {
        Issue.record("seed \(seed), step \(step): \(found)")
        return
      }
    }
  }
}
