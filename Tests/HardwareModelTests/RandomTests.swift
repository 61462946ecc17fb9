import HardwareModel
import HostMemory
import PagingUnits
import Testing

@Suite("Whatever a guest writes")
struct RandomTests {
  private static let frames: UInt64 = 64

  /// An entry that looks like something: mostly present, pointing inside or a little outside.
  private func entry(_ dice: inout Dice, among frames: UInt64) -> UInt64 {
    var entry = dice.below(frames + 2) << 12 | dice.word() & 0xFFF | 1
    switch dice.below(16) {
    case 0: entry = dice.word()
    case 1: entry &= ~1
    case 2: entry |= 1 << (40 + dice.below(24))
    case 3: entry = .max
    default: entry &= ~0x80
    }
    if dice.below(4) == 0 { entry |= 0x80 }
    return entry
  }

  private func registers(_ dice: inout Dice, root: UInt64, among frames: UInt64) -> ControlRegisters
  {
    var registers = ControlRegisters()
    // Combinations that no processor lets be loaded are walked too: nothing may trap.
    registers.cr0 = 1 | dice.word() & (1 << 16) | (dice.below(8) == 0 ? 0 : 1 << 31)
    registers.cr4 = dice.word() & 0x73_10B0
    if dice.below(4) != 0 { registers.cr4 |= 1 << 5 }
    registers.efer = dice.word() & 0xD00
    registers.cr3 = root | dice.word() & 0xFFF
    registers.pkru = UInt32(truncatingIfNeeded: dice.word())
    registers.ac = dice.flag()
    for index in 0..<4 { registers.pdptes[index] = entry(&dice, among: frames) }
    return registers
  }

  private func dimension(_ dice: inout Dice, among frames: UInt64) -> SecondDimension {
    let root = dice.below(frames) << 12
    return switch dice.below(4) {
    case 0: .none
    case 1: .npt(ncr3: root, levels: dice.flag() ? .four : .five)
    default: .ept(eptp: root | 6 | (dice.flag() ? 3 : 4) << 3 | (dice.flag() ? 1 << 6 : 0))
    }
  }

  @Test("no tables and no registers trap, and each answer is one of the manual's", arguments: 0..<8)
  func nothingTraps(seed: Int) throws {
    var dice = Dice(seed: UInt64(seed) + 1)
    let world = try World(.off)
    var seen: [String: Int] = [:]
    for _ in 0..<8 {
      for word in 0..<Self.frames * 512 {
        world.memory.setEntry(entry(&dice, among: Self.frames), at: HostPhysical(word * 8))
      }
      var processor = world.processor {
        $0.translationSets = dice.flag() ? 0 : 2
        $0.keepsWalks = dice.flag()
        $0.vendor = dice.flag() ? .amd : .intel
        $0.physicalBits = 32 + dice.below(21)
        $0.guestPhysicalBits = 32 + dice.below(21)
      }
      for _ in 0..<1000 {
        let registers = registers(&dice, root: dice.below(Self.frames) << 12, among: Self.frames)
        let dimension = dimension(&dice, among: Self.frames)
        let kind = AccessKind.allCases[Int(dice.below(3))]
        let linear =
          dice.flag() ? dice.word() : UInt64(bitPattern: Int64(bitPattern: dice.word()) >> 17)
        let outcome = processor.translate(
          GuestVirtual(linear), kind, Privilege.allCases[Int(dice.below(3))], registers,
          through: dimension)
        check(outcome, kind)
        seen[name(of: outcome), default: 0] += 1
        _ = processor.translate(
          guestPhysical: GuestPhysical(dice.word() >> dice.below(64)), kind, through: dimension)
      }
    }
    // All kinds of answers come up, so that the dice are not stuck at the first entry.
    #expect(seen.count == 6, "\(seen)")
  }

  private func name(of outcome: HardwareOutcome) -> String {
    switch outcome {
    case .translated: "translated"
    case .pageFault: "page fault"
    case .generalProtection: "general protection"
    case .exit(.eptViolation): "violation"
    case .exit(.eptMisconfiguration): "misconfiguration"
    case .exit(.nestedPageFault): "nested fault"
    case .exit(.subpageEvent): "sub-page event"
    case .exit(.modificationLogFull): "full log"
    }
  }

  private func check(_ outcome: HardwareOutcome, _ kind: AccessKind) {
    switch outcome {
    case .translated(let translation):
      let need: Translation.Usable =
        switch kind {
        case .read: .read
        case .write: .write
        case .fetch: .fetch
        }
      #expect(translation.usable.contains(need))
      #expect(translation.level <= .page1G)
    case .pageFault(let code):
      // A reserved bit or a key is found in what is present only.
      #expect(code & ~0x3F == 0)
      #expect(code & 1 != 0 || code & 0x28 == 0)
    case .exit(.eptViolation(let qualification, _, let linear)):
      #expect(qualification & ~0x1BF == 0)
      #expect(qualification & 7 != 0)
      #expect(linear != nil)
      #expect(qualification & 0x80 != 0)
    case .exit(.nestedPageFault(let code, _)):
      #expect(code & 4 != 0)
      #expect((code & 1 << 32 != 0) != (code & 1 << 33 != 0))
    case .exit(.subpageEvent), .exit(.modificationLogFull): Issue.record("the control is 0")
    case .generalProtection, .exit(.eptMisconfiguration): break
    }
  }

  @Test(
    "while nothing changes, a processor that keeps answers like one that does not", arguments: 0..<6
  )
  func keepingChangesNothing(seed: Int) throws {
    var dice = Dice(seed: UInt64(seed) + 100)
    for second in World.Second.allCases {
      for mode in World.Mode.allCases {
        let world = try World(mode, second)
        let pages = (0..<24).map { _ in dice.below(1 << 18) << 12 & 0x3FFF_F000 }
        for linear in pages where mode != .off {
          let leaf = dice.below(4) == 0 ? 2 : 1
          // Where a page has become large, there is no table to go through.
          if world[linear, 2] & 0x80 != 0 || (leaf == 2 && world[linear, 2] != 0) { continue }
          let flags = 0x3 | dice.word() & 0x164 | (dice.below(8) == 0 ? 0 : 4)
          let large: UInt64 = leaf == 2 ? 1 << 7 : 0
          let page = dice.below(1 << 16) << 12 & (leaf == 2 ? ~0x3F_FFFF : ~0xFFF)
          world[linear, leaf] = page | (flags & ~(dice.below(4) == 0 ? 2 : 0)) | large
          if second != .none {
            let size: UInt64 = leaf == 2 ? 0x20_0000 : 0x1000
            for guest in stride(from: page, to: page + size, by: 0x1000) where dice.below(16) != 0 {
              if world[second: guest, 1] == 0 { world.mapSecond(guest, to: guest + world.delta) }
            }
          }
        }
        for guest in pages where mode == .off && second != .none && dice.below(8) != 0 {
          if world[second: guest, 1] == 0 { world.mapSecond(guest, to: guest + world.delta) }
        }
        world.registers.cr4 |= dice.word() & (1 << 7 | 1 << 20 | 1 << 21)
        var plain = world.processor()
        var keeping = world.processor {
          $0.translationSets = dice.flag() ? 2 : 64
          $0.keepsWalks = dice.flag()
        }
        for step in 0..<400 {
          let linear = pages[Int(dice.below(24))] | dice.below(0x1000)
          let kind = AccessKind.allCases[Int(dice.below(3))]
          let privilege = Privilege.allCases[Int(dice.below(3))]
          let kept = keeping.translate(
            GuestVirtual(linear), kind, privilege, world.registers, through: world.dimension)
          let walked = plain.translate(
            GuestVirtual(linear), kind, privilege, world.registers, through: world.dimension)
          switch (kept, walked) {
          case (.translated(var one), .translated(let other)):
            // What was kept before a dirty bit was set asks once more before a write.
            #expect(one.usable.symmetricDifference(other.usable).subtracting(.write).isEmpty)
            #expect(other.usable.isSuperset(of: one.usable))
            one.usable = other.usable
            #expect(one == other, "\(mode) \(second) step \(step)")
          default: #expect(kept == walked, "\(mode) \(second) step \(step)")
          }
          if dice.below(32) == 0 { keeping.evict(Int(dice.below(UInt64(keeping.capacity)))) }
        }
        #expect(keeping.counters.hits > 0)
      }
    }
  }
}
