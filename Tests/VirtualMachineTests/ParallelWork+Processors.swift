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
    case .tableStore(let place):
      if !isShadow {
        Issue.record("processor \(number) met a protected table, which direct paging has none of")
      }
      machine.stored(number, at: place.guestPhysical, byteCount: 1)
      return isShadow
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
      // Under shadow paging the processor has no way past its tables, which translate linearly.
      let outcome =
        step % 16 == 0
        ? machine.emulatedAccess(number, address, kind)
        : isShadow
          ? machine.access(number, GuestVirtual(address.raw), kind, .supervisor)
          : machine.access(number, address, kind)
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
      let kind = Self.kind(&dice)
      let outcome =
        isShadow
        ? machine.access(number, GuestVirtual(address.raw), kind, .supervisor)
        : machine.access(number, address, kind)
      if judge(outcome, number) { successes += 1 }
      if step % 16 == 0 { machine.evictTranslation(in: Int(dice.roll(2048)), of: number) }
    }
    return successes
  }

  /// A processor that changes entries of the guest's tables by stores of its own, has some of it
  /// forgotten, loads CR3 again, and goes from one mode to another.
  ///
  /// The others walk the same tables meanwhile.
  func runEditor(_ number: Int, _ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    var mode = Mode.fourLevels
    switchMode(of: number, to: mode)
    for step in 1...steps {
      let page = 2 + dice.roll(510)
      if dice.roll(2) == 0 {
        // Absent, read-only or writable; the page stays the same.
        let word = [0, page << 12 | 5, page << 12 | 7][Int(dice.roll(3))]
        if store(word, at: Self.place(ofEntry: page), number, mode) { successes += 1 }
      }
      if dice.roll(8) == 0 {
        // A large page, or its rights, in the directory of all.
        let index = 2 + dice.roll(2)
        let word = index << 21 | [0x85, 0x87][Int(dice.roll(2))]
        _ = store(word, at: Self.tables.lowerBound + 0x2000 + index * 8, number, mode)
      }
      let address = GuestVirtual(dice.roll(2) == 0 ? page << 12 : dice.address(in: Self.large))
      if judge(machine.access(number, address, Self.kind(&dice), .supervisor), number) {
        successes += 1
      }
      if step % 4 == 0 { machine.invalidate(number, .linearAddress(address)) }
      if step % 16 == 0 {
        _ = machine.writeCR3(number, machine[registersOf: number].cr3)
      }
      if step % 32 == 0 {
        mode = Mode.allCases[Int(dice.roll(3))]
        switchMode(of: number, to: mode)
      }
      if step % 64 == 0 { _ = machine.trim(Int(1 + dice.roll(8))) }
    }
    machine.invalidate(number, .everything)
    return successes
  }

  /// Performs a store of the guest's to its tables through the page that maps them.
  ///
  /// The bytes are written after the processor has left the guest, when another may have brought
  /// the table up to date: the machine is told of each store, as of those that it performs itself.
  private func store(_ word: UInt64, at place: UInt64, _ number: Int, _ mode: Mode) -> Bool {
    // Linear 8 MiB on is `tables` in every mode.
    switch machine.access(number, GuestVirtual(place), .write, .supervisor, byteCount: 8) {
    case .translated, .tableStore:
      write(word, at: place)
      machine.stored(number, at: GuestPhysical(place), byteCount: 8)
      return true
    case let outcome: return judge(outcome, number)
    }
  }
}
