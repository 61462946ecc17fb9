import DirectMMU
import Dispatch
import Glibc
import GuestMemory
import HostMemory
import MachineChecks
import MachineEvents
import PagingUnits
import SparseMemory
import Testing
import VirtualMachine

/// A sequence of numbers by seed.
private struct Dice {
  var state: UInt64
  mutating func roll(_ sides: UInt64) -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state % sides
  }
}

/// A machine that several threads reach; the bench outlives them.
@safe private struct Shared: @unchecked Sendable {
  let bench: UnsafePointer<Bench>
}

@Suite("Processors, host and VMM in parallel")
struct ParallelTests {
  /// Who takes part: three processors, two who change the host's pages, the VMM.
  private static let actors = 6

  @Test(
    "processors fault while the host changes pages and the VMM slots, and all come to a sound end",
    arguments: [1, 2, 3] as [UInt64], [Level.page4K, .page2M])
  func everybodyAtOnce(seed: UInt64, backing: Level) throws {
    var made = MachineConfiguration()
    made.processors = 3
    made.vendor = seed % 2 == 0 ? .amd : .intel
    made.accessedDirty = seed == 3 ? .absent : .present
    // However long somebody in the way is kept from running, waiting for it is no lack of progress.
    made.retryLimit = .max
    var watch = VirtualMachine.Watch()
    let nothing = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    defer { unsafe nothing.deallocate() }
    // SAFETY: the hook does not use its context, which outlives the machine all the same.
    watch.interleaver = unsafe Interleaver(context: nothing, hook: { _, _, _ in sched_yield() })
    let bench = try Bench(made, slot: 8 << 20, backing: backing, watch: watch)
    let extra = try bench.machine.process.add(
      HostRegionRequest(byteCount: 1 << 20, backing: .anonymous(largestPage: .page4K)))
    unsafe withUnsafePointer(to: bench) { pointer in
      let shared = unsafe Shared(bench: pointer)
      DispatchQueue.concurrentPerform(iterations: Self.actors) { actor in
        // SAFETY: the bench outlives `concurrentPerform`, and a machine may be shared.
        switch actor {
        case 0...2: unsafe Self.run(shared.bench.pointee, processor: actor, seed: seed)
        case 3: unsafe Self.move(shared.bench.pointee, seed: seed)
        case 4: unsafe Self.reshape(shared.bench.pointee, seed: seed)
        default: unsafe Self.rearrange(shared.bench.pointee, extra, seed: seed)
        }
      }
    }
    for processor in 0..<3 {
      #expect(bench.machine.access(processor, GuestPhysical(0x1000), .write).host != nil)
      let violation = MachineInspection.violation(in: bench.machine, of: processor)
      #expect(violation == nil)
    }
  }

  /// A processor touches memory, inside and outside slots, and sometimes has the hypervisor do it.
  private static func run(_ bench: borrowing Bench, processor: Int, seed: UInt64) {
    var dice = Dice(state: seed &* 77 &+ UInt64(processor) &+ 1)
    for _ in 0..<4_000 {
      let address = GuestPhysical(dice.roll(10 << 20) & ~7)
      let kind: AccessKind = [.read, .write, .fetch][Int(dice.roll(3))]
      let outcome =
        dice.roll(16) == 0
        ? bench.machine.emulatedAccess(processor, address, kind)
        : bench.machine.access(processor, address, kind)
      if case .stuck = outcome { Issue.record("processor \(processor) makes no progress") }
      if case .failed(.poisoned, _) = outcome { Issue.record("nobody poisons memory") }
      if case .failed(.noMemory, _) = outcome { Issue.record("the host has memory") }
    }
  }

  /// The host moves, drops, swaps, shares and ages single pages.
  private static func move(_ bench: borrowing Bench, seed: UInt64) {
    var dice = Dice(state: seed &* 991)
    for _ in 0..<400 {
      let page = bench.base + dice.roll(2048) << 12
      let range = page..<(page + 4096)
      switch dice.roll(8) {
      case 0: _ = bench.machine.unmapHost(range)
      case 1, 2: _ = bench.machine.migrateHost(page)
      case 3: _ = bench.machine.swapOutHost(range)
      case 4: _ = bench.machine.swapInHost(range)
      case 5: _ = bench.machine.clearFlushYoung(range)
      case 6: _ = bench.machine.testYoung(page)
      default: _ = bench.machine.writeProtectHost(range)
      }
    }
  }

  /// The host splits and joins large pages, and protects ranges.
  private static func reshape(_ bench: borrowing Bench, seed: UInt64) {
    var dice = Dice(state: seed &* 443)
    for _ in 0..<150 {
      let large = bench.base + dice.roll(4) << 21
      let page = large + dice.roll(512) << 12
      switch dice.roll(5) {
      case 0: _ = bench.machine.splitHost(large)
      case 1: _ = bench.machine.collapseHost(large, to: .page2M)
      case 2: _ = bench.machine.clearYoung(large..<(large + 2 << 20))
      case 3: _ = bench.machine.shareHost(page..<(page + 4096))
      default:
        do {
          try bench.machine.protectHost(page..<(page + 4096), as: .readOnly)
          try bench.machine.protectHost(page..<(page + 4096), as: .readWrite)
        } catch {
          Issue.record("pages could not be protected: \(error)")
        }
      }
    }
  }

  /// The VMM makes, moves, changes and deletes a slot, zaps everything, and touches guest bytes.
  private static func rearrange(
    _ bench: borrowing Bench, _ extra: HostVirtual, seed: UInt64
  ) {
    var dice = Dice(state: seed &* 1237)
    var region = MemslotRegion(
      id: MemslotID(1), guestAddress: GuestPhysical(9 << 20), byteCount: 1 << 20,
      hostAddress: extra)
    var exists = false
    for _ in 0..<120 {
      let choice = exists ? dice.roll(6) : 0
      switch choice {
      case 0: region.byteCount = 1 << 20
      case 1: region.guestAddress = GuestPhysical(dice.roll(2) == 0 ? 9 << 20 : 8 << 20)
      case 2: region.flags.formSymmetricDifference(.logDirty)
      case 3: region.byteCount = 0
      case 4: bench.machine.zapAll()
      default:
        let address = dice.roll(1 << 20) << 3
        if bench.read(address) == nil { Issue.record("the slot has memory at \(address)") }
        bench.write([address], at: address & ~0xFFF)
      }
      guard choice < 4 else { continue }
      do {
        try bench.machine.setMemoryRegion(region)
        exists = region.byteCount > 0
      } catch {
        Issue.record("a slot could not be changed: \(error)")
      }
    }
  }
}
