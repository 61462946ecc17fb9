import DirectMMU
import HostMemory
import MachineEvents
import PagingUnits
import SparseMemory
import Testing
import VirtualMachine

/// Chance by seed (SplitMix64).
private struct Chance {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
  mutating func next(below bound: UInt64) -> UInt64 { next() % bound }
}

extension Bench {
  /// The word that the guest reads, through whatever its processor keeps.
  func guestRead(_ address: UInt64) -> UInt64? {
    guard let place = machine.access(0, GuestPhysical(address), .read).host else { return nil }
    return buffers.memory.entry(at: place)
  }

  /// Writes a word as the guest; whether it could.
  func guestWrite(_ word: UInt64, at address: UInt64) -> Bool {
    guard let place = machine.access(0, GuestPhysical(address), .write).host else { return false }
    buffers.memory.setEntry(word, at: place)
    return true
  }

  func page(_ number: UInt64, count: UInt64 = 1) -> Range<HostVirtual> {
    (base + number << 12)..<(base + (number + count) << 12)
  }

  /// What the host counts as used for pages.
  var accounts: [UInt64] {
    [FrameKind.anonymous, .swapped, .file].map { machine.process.host.frames($0) }
  }
}

@Suite("The host changes its pages")
struct HostChangeTests {
  @Test("the guest sees its bytes after each change, not those of whoever got the old frame")
  func eachChange() throws {
    let changes: [(Range<HostVirtual>, borrowing VirtualMachine) -> HostChangeOutcome] = [
      { range, machine in machine.swapOutHost(range) },
      { range, machine in machine.writeProtectHost(range) },
      { range, machine in machine.shareHost(range) },
      { range, machine in machine.mergeHost(range) },
      { range, machine in machine.migrateHost(range.lowerBound) },
    ]
    for vendor in MachineConfiguration.Vendor.allCases {
      var made = MachineConfiguration()
      made.vendor = vendor
      for change in changes {
        let bench = try Bench(made)
        // Two pages with the same bytes, so that merging finds a pair.
        for page in [8, 9] as [UInt64] {
          for offset in [0, 8] as [UInt64] {
            #expect(bench.guestWrite(0x77, at: page << 12 + offset) == true)
          }
        }
        let changed = change(bench.page(8, count: 2), bench.machine)
        #expect(changed == .done)
        // Whatever frames became free are now another's.
        for page in 16..<24 as Range<UInt64> {
          #expect(bench.guestWrite(0x5555, at: page << 12) == true)
        }
        #expect(bench.guestRead(0x8008) == 0x77)
        #expect(bench.guestWrite(0x88, at: 0x9008) == true)
        #expect(bench.guestRead(0x8008) == 0x77)
        #expect(bench.read(0x9008) == 0x88)
      }
    }
  }

  @Test("a page swapped out comes back with the guest's next access, and only then")
  func swap() throws {
    let bench = try Bench()
    #expect(bench.guestWrite(7, at: 0x9000) == true)
    #expect(bench.machine.swapOutHost(bench.page(9)) == .done)
    #expect(bench.accounts == [0, 1, 0])
    #expect(bench.machine.process.word(at: bench.base + 0x9000) == 7)
    #expect(bench.machine.statistic(.pages_4k) == 0)
    #expect(bench.guestRead(0x9000) == 7)
    #expect(bench.accounts == [1, 0, 0])
    #expect(bench.machine.swapOutHost(bench.page(9)) == .done)
    #expect(bench.machine.swapInHost(bench.page(9)) == .done)
    #expect(bench.machine.swapInHost(bench.page(9)) == .nothingThere)
    #expect(bench.guestWrite(8, at: 0x9000) == true)
    #expect(bench.read(0x9000) == 8)
  }

  @Test("a refused frame fails the access, and the page is still there afterwards")
  func refusedSwapIn() throws {
    let bench = try Bench()
    #expect(bench.guestWrite(7, at: 0x9000) == true)
    bench.machine.process.host.refuse(.from(1))
    #expect(bench.machine.swapOutHost(bench.page(9)) == .outOfFrames)
    #expect(bench.guestRead(0x9000) == 7)
    bench.machine.process.host.refuse(.never)
    #expect(bench.machine.swapOutHost(bench.page(9)) == .done)
    bench.machine.process.host.refuse(.from(1))
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host == nil)
    #expect(bench.accounts == [0, 1, 0])
    bench.machine.process.host.refuse(.never)
    #expect(bench.guestRead(0x9000) == 7)
  }

  @Test("the forked copy keeps the bytes of the fork while the guest writes on")
  func fork() throws {
    let bench = try Bench()
    #expect(bench.guestWrite(1, at: 0x9000) == true)
    let old = bench.machine.access(0, GuestPhysical(0x9000), .write).host
    #expect(bench.machine.shareHost(bench.page(9)) == .done)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host == old)
    #expect(bench.guestWrite(2, at: 0x9000) == true)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host != old)
    #expect(bench.machine.process.wordOfCopy(at: bench.base + 0x9000) == 1)
    #expect(bench.machine.shareHost(bench.page(9)) == .done)
    bench.machine.dropHostCopy(of: bench.page(9))
    let kept = bench.machine.access(0, GuestPhysical(0x9000), .read).host
    #expect(bench.guestWrite(3, at: 0x9000) == true)
    #expect(bench.machine.access(0, GuestPhysical(0x9000), .read).host == kept)
    #expect(bench.accounts == [1, 0, 0])
  }

  @Test("a damaged page fails the guest's access, and age asks guest and host")
  func poisonAndAge() throws {
    let bench = try Bench()
    #expect(bench.guestWrite(1, at: 0x9000) == true)
    #expect(bench.machine.ageHost(bench.page(9), .clearAndFlush) == true)
    #expect(bench.machine.ageHost(bench.page(9), .test) == false)
    #expect(bench.guestRead(0x9000) == 1)
    #expect(bench.machine.ageHost(bench.page(9), .clear) == true)
    #expect(bench.machine.poisonHost(bench.base + 0x9000) == .done)
    guard case .failed(.poisoned, _) = bench.machine.access(0, GuestPhysical(0x9000), .read) else {
      Issue.record("a damaged page was reached")
      return
    }
  }

  @Test(
    "through thousands of changes guest, VMM and host agree on every byte",
    arguments: 0..<8 as Range<UInt64>)
  func life(seed: UInt64) throws {
    var chance = Chance(state: seed)
    var made = MachineConfiguration()
    made.vendor = seed & 1 == 0 ? .intel : .amd
    made.accessedDirty = seed & 2 == 0 ? .present : .absent
    let bench = try Bench(made, slot: 4 << 20, backing: seed & 4 == 0 ? .page4K : .page2M)
    let count: UInt64 = 24
    var words = [UInt64](repeating: 0, count: Int(count))
    for step in 0..<1200 {
      let page = chance.next(below: count)
      let range = bench.page(page, count: 1 + chance.next(below: min(6, count - page)))
      let name = Self.change(bench, page, range, &words, &chance)
      for number in words.indices {
        let address = UInt64(number) << 12
        // A page that only the host looks at stays where it is: swapped, untouched.
        let held = bench.machine.process.word(at: bench.base + address)
        #expect(held == words[number], "seed \(seed) step \(step) \(name): page \(number)")
        if held != words[number] { return }
        guard chance.next() & 1 == 0 else { continue }
        let seen = bench.guestRead(address)
        #expect(seen == words[number], "seed \(seed) step \(step) \(name): page \(number)")
        if seen != words[number] { return }
      }
    }
    // All pages given back, nothing of the swap area or the copy is left.
    let all = bench.base..<(bench.base + (4 << 20))
    bench.machine.dropHostCopy(of: all)
    #expect(bench.machine.unmapHost(all) == .done)
    #expect(bench.accounts == [0, 0, 0])
  }

  /// Makes one change to both; its name.
  private static func change(
    _ bench: borrowing Bench, _ page: UInt64, _ range: Range<HostVirtual>, _ words: inout [UInt64],
    _ chance: inout Chance
  ) -> String {
    let value = chance.next() & 3
    switch chance.next(below: 14) {
    case 0, 1, 2:
      #expect(bench.guestWrite(value, at: page << 12) == true)
      words[Int(page)] = value
      return "guest write"
    case 3:
      bench.write([value], at: page << 12)
      words[Int(page)] = value
      return "VMM write"
    case 4, 5:
      _ = bench.machine.swapOutHost(range)
      return "swap out"
    case 6:
      _ = bench.machine.swapInHost(range)
      return "swap in"
    case 7:
      _ = bench.machine.migrateHost(range.lowerBound)
      return "migrate"
    case 8:
      _ = bench.machine.mergeHost(range)
      return "merge"
    case 9:
      _ = bench.machine.shareHost(range)
      return "share"
    case 10:
      bench.machine.dropHostCopy(of: range)
      return "drop the copy"
    case 11:
      _ = bench.machine.writeProtectHost(range)
      return "write-protect"
    case 12:
      _ = bench.machine.unmapHost(range)
      let pages = (range.upperBound - range.lowerBound) >> 12
      for number in page..<(page + pages) { words[Int(number)] = 0 }
      return "unmap"
    default:
      if chance.next() & 1 == 0 { _ = bench.machine.ageHost(range, .clear) }
      bench.machine.dropHostCopy(of: bench.page(0, count: 512))
      _ = bench.machine.collapseHost(bench.base, to: .page2M)
      return "collapse"
    }
  }
}
