import Dispatch
import Glibc
import GuestMemory
import HostMemory
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
  @Test(
    "processors fault while the host moves pages and the VMM changes slots, and all come to an end",
    arguments: [1, 2] as [UInt64])
  func everybodyAtOnce(seed: UInt64) throws {
    var made = MachineConfiguration()
    made.processors = 2
    // However long somebody in the way is kept from running, waiting for it is no lack of progress.
    made.retryLimit = .max
    var watch = VirtualMachine.Watch()
    let nothing = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    defer { unsafe nothing.deallocate() }
    // SAFETY: the hook does not use its context, which outlives the machine all the same.
    watch.interleaver = unsafe Interleaver(context: nothing, hook: { _, _, _ in sched_yield() })
    let bench = try Bench(made, slot: 4 << 20, watch: watch)
    let extra = try bench.machine.process.add(
      HostRegionRequest(byteCount: 1 << 20, backing: .anonymous(largestPage: .page4K)))
    unsafe withUnsafePointer(to: bench) { pointer in
      let shared = unsafe Shared(bench: pointer)
      DispatchQueue.concurrentPerform(iterations: 4) { part in
        // SAFETY: the bench outlives `concurrentPerform`, and a machine may be shared.
        switch part {
        case 0, 1: unsafe Self.run(shared.bench.pointee, processor: part, seed: seed)
        case 2: unsafe Self.disturb(shared.bench.pointee, seed: seed)
        default: unsafe Self.rearrange(shared.bench.pointee, extra)
        }
      }
    }
    for processor in 0..<2 {
      #expect(bench.machine.access(processor, GuestPhysical(0x1000), .write).host != nil)
    }
  }

  /// Stores a word of its own and reads it back, as long as the host leaves the content alone.
  private static func run(_ bench: borrowing Bench, processor: Int, seed: UInt64) {
    var dice = Dice(state: seed &* 77 &+ UInt64(processor) &+ 1)
    for _ in 0..<20_000 {
      let address = GuestPhysical(dice.roll(6 << 20) & ~7)
      let kind: AccessKind = dice.roll(2) == 0 ? .read : .write
      let outcome = bench.machine.access(processor, address, kind)
      if case .stuck = outcome { Issue.record("processor \(processor) makes no progress") }
      if case .failed(let reason, _) = outcome { Issue.record("the host failed: \(reason)") }
    }
  }

  private static func disturb(_ bench: borrowing Bench, seed: UInt64) {
    var dice = Dice(state: seed &* 991)
    for _ in 0..<400 {
      let page = bench.base + dice.roll(1024) << 12
      switch dice.roll(3) {
      case 0: _ = bench.machine.unmapHost(page..<(page + 4096))
      case 1: _ = bench.machine.migrateHost(page)
      default: _ = bench.machine.clearFlushYoung(page..<(page + 4096))
      }
    }
  }

  private static func rearrange(_ bench: borrowing Bench, _ extra: HostVirtual) {
    for round in 0..<100 {
      let size: UInt64 = round % 2 == 0 ? 1 << 20 : 0
      let region = MemslotRegion(
        id: MemslotID(1), guestAddress: GuestPhysical(5 << 20), byteCount: size,
        hostAddress: extra)
      do {
        try bench.machine.setMemoryRegion(region)
      } catch {
        Issue.record("a slot could not be changed: \(error)")
      }
    }
  }
}
