import DirectMMU
import HardwareModel
import PagingUnits
import Testing
import VirtualMachine

/// What processors do in the stress test.
extension ParallelMachine {
  private static func kind(_ dice: inout Dice) -> AccessKind {
    switch dice.roll(8) {
    case 0...3: .read
    case 4...6: .write
    default: .fetch
    }
  }

  /// Whether an access did something; what must never happen is recorded.
  private func judge(_ outcome: AccessOutcome, _ number: Int) -> Bool {
    switch outcome {
    case .translated: return true
    case .tableStore:
      Issue.record("processor \(number) met a protected table, which direct paging has none of")
      return false
    case .subpageRefused, .subpageMisconfiguration, .subpageMiss:
      Issue.record("processor \(number) met sub-page permissions, which this machine has none of")
      return false
    case .device(let address):
      let isDevice =
        Self.arranged.contains(address.raw) || address.raw >= Self.arranged.upperBound
      if !isDevice { Issue.record("processor \(number) finds no memory at \(address)") }
      return true
    case .pageFault, .generalProtection: return false
    case .failed(let reason, let address):
      // The host takes rights away there and nowhere else.
      if reason != .badAddress || !Self.dropped.contains(address.raw) {
        Issue.record("processor \(number) has no memory at \(address): \(reason)")
      }
      return false
    case .stuck(let address):
      Issue.record("processor \(number) makes no progress at \(address)")
      return false
    }
  }

  /// A processor without paging, all over memory.
  func runProcessor(_ number: Int, _ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    for step in 1...steps {
      let range =
        switch dice.roll(10) {
        case 0...3: Self.moved
        case 4, 5: Self.dropped
        case 6, 7: Self.large
        case 8: Self.arranged
        default: Self.arranged.upperBound..<(Self.arranged.upperBound + 1 << 16)
        }
      let address = GuestPhysical(dice.address(in: range))
      let kind = Self.kind(&dice)
      let outcome =
        step % 16 == 0
        ? machine.emulatedAccess(number, address, kind) : machine.access(number, address, kind)
      if judge(outcome, number) { successes += 1 }
      if step % 64 == 0 { machine.evictTranslation(in: Int(dice.roll(2048)), of: number) }
      if step % 128 == 0 { machine.drainTables(of: number) }
      if step % 512 == 0 {
        let space = machine.addressSpace(of: number)
        machine.setAddressSpace(space == .normal ? .systemManagement : .normal, of: number)
      }
    }
    machine.setAddressSpace(.normal, of: number)
    return successes
  }

  /// A processor that walks the guest's tables, and has the hypervisor walk them too.
  func runWalker(_ number: Int, _ dice: inout Dice, steps: Int) -> Int {
    turnPagingOn(of: number)
    var successes = 0
    for step in 1...steps {
      let range = dice.roll(3) == 0 ? Self.large : Self.moved
      let address = GuestVirtual(dice.address(in: range))
      let kind = Self.kind(&dice)
      let outcome =
        step % 16 == 0
        ? machine.emulatedAccess(number, address, kind, .supervisor)
        : machine.access(number, address, kind, .supervisor)
      if judge(outcome, number) { successes += 1 }
      if step % 32 == 0 { machine.invalidate(number, .linearAddress(address)) }
      if step % 48 == 0 { _ = machine.translate(number, address, kind, .user) }
    }
    machine.invalidate(number, .everything)
    return successes
  }

  /// A processor that wants the same few pages as others.
  func runCrowd(_ number: Int, _ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    for step in 1...steps {
      let page = dice.roll(4) << 12
      let address = GuestPhysical(dice.roll(4) == 0 ? page : Self.large.lowerBound + page)
      if judge(machine.access(number, address, Self.kind(&dice)), number) { successes += 1 }
      if step % 16 == 0 { machine.evictTranslation(in: Int(dice.roll(2048)), of: number) }
    }
    return successes
  }
}
