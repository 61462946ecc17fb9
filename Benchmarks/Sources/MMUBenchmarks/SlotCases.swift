import CBaselines
import GuestMemory
import HostMemory
import PagingUnits
import SparseMemory
import VirtualMachine

/// A layout of many slots, looked up at random frames: every look-up misses the last answer.
final class SlotFinder {
  let machine: VirtualMachine
  let buffers: SparseHost
  let count: UInt64
  var slots: [baseline_slot] = []

  init(count: UInt64) {
    guard let buffers = try? SparseHost(byteCount: 64 << 20),
      let process = try? HostAddressSpace(sharing: buffers.makeHost())
    else { fatalError("no address space") }
    self.buffers = buffers
    self.count = count
    machine = VirtualMachine(MachineConfiguration(), process: process)
    for index in 0..<count {
      let base = index << 4
      guard
        let _ = try? machine.setMemoryRegion(
          MemslotRegion(
            id: MemslotID(UInt16(index)), guestAddress: GuestPhysical(base << 12),
            byteCount: 16 << 12, hostAddress: HostVirtual(0x1000_0000 + base << 12)))
      else { fatalError("no slot") }
      slots.append(baseline_slot(base: base, count: 16, host: 0))
    }
  }

  private func frame(_ state: inout UInt64) -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state >> 33) % (count << 4)
  }

  func find(_ rounds: Int) -> UInt64 {
    var hint = SlotHint()
    var state: UInt64 = 1
    var sum: UInt64 = 0
    for _ in 0..<rounds {
      let slot = machine.slots.slot(
        containing: GuestFrame(frame(&state)), in: .normal, hint: &hint)
      sum &+= slot?.baseFrame.number ?? 0
    }
    return sum
  }

  func baseline(_ rounds: Int) -> UInt64 {
    var hint: UInt64 = 0
    var state: UInt64 = 1
    var sum: UInt64 = 0
    for _ in 0..<rounds {
      sum &+= baseline_slot_of(slots, count, frame(&state), &hint)
    }
    return sum
  }
}
