import GuestMemory
import HostMemory
import PagingUnits
import Testing
import VirtualMachine

/// What the host and the VMM do in the stress test.
extension ParallelMachine {
  /// The host moves, swaps, shares, merges, protects and drops pages.
  func moveHost(_ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    for _ in 0..<steps {
      let kept = dice.address(in: Self.moved)
      let keptRange = pages(
        kept, min(1 + dice.roll(4), (Self.moved.upperBound - kept + 4095) >> 12))
      let lost = dice.address(in: Self.dropped)
      let outcome: HostChangeOutcome
      switch dice.roll(14) {
      case 0, 1: outcome = machine.migrateHost(host(kept))
      case 2: outcome = machine.swapOutHost(keptRange)
      case 3: outcome = machine.swapInHost(keptRange)
      case 4: outcome = machine.writeProtectHost(keptRange)
      case 5: outcome = machine.shareHost(keptRange)
      case 6:
        machine.dropHostCopy(of: pages(Self.moved.lowerBound, 512))
        outcome = .done
      case 7: outcome = machine.mergeHost(keptRange)
      case 8: outcome = machine.migrateHost(host(dice.address(in: Self.tables)))
      case 9, 10: outcome = machine.unmapHost(pages(lost))
      case 11: outcome = machine.swapOutHost(pages(lost))
      case 12: outcome = machine.migrateHost(host(lost))
      default: outcome = protect(lost, dice.roll(3)) ? .done : .unsuitable
      }
      if outcome == .done { successes += 1 }
    }
    return successes
  }

  private func protect(_ address: UInt64, _ choice: UInt64) -> Bool {
    let protections: [HostProtection] = [.none, .readOnly, .readWrite]
    do {
      try machine.protectHost(pages(address), as: protections[Int(choice)])
      return true
    } catch {
      Issue.record("a page could not be protected: \(error)")
      return false
    }
  }

  /// The host splits and joins large pages.
  func resizeHost(_ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    for _ in 0..<steps {
      let address = dice.address(in: Self.large)
      let outcome: HostChangeOutcome
      switch dice.roll(8) {
      case 0, 1: outcome = machine.splitHost(host(address))
      case 2...4: outcome = machine.collapseHost(host(address), to: .page2M)
      case 5: outcome = machine.migrateHost(host(address))
      case 6: outcome = machine.swapOutHost(pages(address))
      default:
        let start = address & ~(2 << 20 - 1)
        outcome = machine.unmapHost(dice.roll(2) == 0 ? pages(start, 512) : pages(address))
      }
      if outcome == .done { successes += 1 }
    }
    return successes
  }

  /// The host asks for the age of pages.
  func ageHost(_ dice: inout Dice, steps: Int) -> Int {
    for _ in 0..<steps {
      let range = dice.roll(2) == 0 ? Self.moved : Self.large
      let address = dice.address(in: range)
      let part = pages(address, min(1 + dice.roll(64), (range.upperBound - address + 4095) >> 12))
      _ =
        switch dice.roll(6) {
        case 0: machine.clearFlushYoung(part)
        case 1: machine.clearYoung(part)
        case 2: machine.testYoung(host(address))
        case 3: machine.ageHost(part, .clearAndFlush)
        case 4: machine.ageHost(part, .clear)
        default: machine.ageHost(part, .test)
        }
    }
    return steps
  }

  /// The VMM makes, moves, changes and deletes slot 2, in both address spaces.
  func arrange(_ dice: inout Dice, steps: Int) -> Int {
    var successes = 0
    let spaces = AddressSpace.allCases
    var exists = spaces.map { _ in false }
    var starts = spaces.map { _ in Self.arranged.lowerBound }
    var isLogged = spaces.map { _ in false }
    for step in 0..<steps {
      let space = Int(dice.roll(UInt64(spaces.count)))
      var size: UInt64 = 1 << 20
      switch exists[space] ? dice.roll(3) : 3 {
      case 0: size = 0
      case 1: starts[space] ^= 1 << 20
      case 2: isLogged[space].toggle()
      default: isLogged[space] = step % 2 == 0
      }
      exists[space] = size != 0
      let region = MemslotRegion(
        id: MemslotID(2), addressSpace: spaces[space], flags: isLogged[space] ? .logDirty : [],
        guestAddress: GuestPhysical(starts[space]), byteCount: size, hostAddress: slotBase)
      do {
        try machine.setMemoryRegion(region)
        successes += 1
      } catch {
        Issue.record("a slot could not be changed: \(error)")
      }
    }
    return successes
  }

  /// The VMM makes every table obsolete.
  func zap(steps: Int) -> Int {
    for _ in 0..<steps { machine.zapAll() }
    return steps
  }

  /// The VMM writes bytes to `moved`, finds there what it wrote, and rewrites entries of the
  /// guest's tables.
  func checkBytes(_ dice: inout Dice, steps: Int) -> Int {
    var expected = [UInt8](repeating: 0, count: Self.moved.count)
    var successes = 0
    for _ in 0..<steps {
      let start = Int(dice.address(in: Self.moved))
      let count = min(1 + Int(dice.roll(64)), Self.moved.count - start)
      switch dice.roll(4) {
      case 0, 1:
        let bytes = (0..<count).map { _ in UInt8(dice.roll(256)) }
        let done = unsafe machine.write(bytes.span.bytes, to: GuestPhysical(UInt64(start)))
        if done != count { Issue.record("\(done) of \(count) bytes were written") }
        expected.replaceSubrange(start..<(start + count), with: bytes)
        successes += 1
      case 2:
        var found = [UInt8](repeating: 0xAA, count: count)
        var span = found.mutableSpan
        var bytes = unsafe span.mutableBytes
        let done = machine.read(into: &bytes, from: GuestPhysical(UInt64(start)))
        if done != count || found[...] != expected[start..<(start + count)] {
          Issue.record("bytes at \(start) are not those that were written")
        }
        successes += 1
      default:
        // The page stays the same; what was writable becomes read-only and back.
        let page = UInt64(start) >> 12
        let place = Self.place(ofEntry: page)
        write(page << 12 | (dice.roll(2) == 0 ? 5 : 7), at: place)
        machine.changedUnseen(GuestPhysical(place).frame)
        successes += 1
      }
    }
    return successes
  }
}
