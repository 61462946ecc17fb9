import DirectMMU
import GuestMemory
import HardwareModel
import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

@Suite("The reference's judgement")
struct JudgeTests {
  /// Page 0 may be written, page 1 only read, page 2 is a supervisor's, page 3 is not there.
  private func bench(cr4: UInt64 = 0) throws -> Bench {
    let bench = try Bench()
    bench.setUpPaging(cr4: cr4)
    bench.write([17 << 12 | 0x65], at: Bench.entry(1))
    bench.write([18 << 12 | 0x63], at: Bench.entry(2))
    bench.write([0x7], at: 0x1800)
    bench.write([0], at: Bench.entry(3))
    return bench
  }

  private func access(_ page: UInt64, _ kind: AccessKind = .read) -> ReferenceAccess {
    ReferenceAccess(.virtual(GuestVirtual(page << 12)), kind, byteCount: 8)
  }

  /// Every field of what came out, spoilt once.
  private static let spoilers: [@Sendable (inout Translation) -> Void] = [
    { $0.guestPhysical = $0.guestPhysical + 0x1000 },
    { $0.hostPhysical = $0.hostPhysical + 0x1000 },
    { $0.hostPhysical = HostPhysical($0.hostPhysical.raw ^ 8) },
    {
      $0.guestPhysical = $0.guestPhysical + 0x1000
      $0.hostPhysical = $0.hostPhysical + 0x1000
    },
    { $0.level = .page2M },
    { $0.usable.insert(.write) },
    { $0.usable.remove(.read) },
    { $0.isGlobal = true },
  ]

  @Test("every field of a translation is judged", arguments: spoilers.indices)
  func spoiltTranslation(which: Int) throws {
    var bench = try bench()
    let (outcome, verdict, violation) = bench.check(access(1))
    #expect(violation == nil)
    guard case .translated(var translation) = outcome else {
      Issue.record("the page is there")
      return
    }
    Self.spoilers[which](&translation)
    let spoilt = bench.reference.judge(.translated(translation), of: verdict, in: bench.machine)
    #expect(spoilt != nil)
  }

  @Test("every other outcome of an access that succeeds is refused")
  func refusedOutcomes() throws {
    var bench = try bench()
    let (_, verdict, violation) = bench.check(access(0))
    #expect(violation == nil)
    for outcome in [
      .pageFault(errorCode: 4), .generalProtection, .device(GuestPhysical(16 << 12)),
      .failed(.badAddress, GuestPhysical(16 << 12)), .failed(.noMemory, GuestPhysical(16 << 12)),
      .stuck(GuestPhysical(16 << 12)),
    ] as [AccessOutcome] {
      let violation = bench.reference.judge(outcome, of: verdict, in: bench.machine)
      #expect(violation != nil)
    }
    bench.reference.supply = .scarce
    let scarce = bench.reference.judge(
      .failed(.noMemory, GuestPhysical(0)), of: verdict, in: bench.machine)
    #expect(scarce == nil)
  }

  @Test("a page fault is judged by every bit of its error code")
  func errorCode() throws {
    var bench = try bench()
    let (outcome, verdict, violation) = bench.check(access(1, .write))
    #expect(violation == nil)
    guard case .pageFault(let code) = outcome else {
      Issue.record("the page may not be written")
      return
    }
    #expect(code == 7)
    for bit in 0..<16 as Range<UInt32> {
      let spoilt = bench.reference.judge(
        .pageFault(errorCode: code ^ 1 << bit), of: verdict, in: bench.machine)
      #expect(spoilt != nil)
    }
    let other = bench.reference.judge(
      .device(GuestPhysical(17 << 12)), of: verdict, in: bench.machine)
    #expect(other != nil)
  }

  @Test("accessed and dirty bits that are missing, or too many, are seen")
  func marks() throws {
    // The level-4 entry's and the leaf's accessed bit, the leaf's dirty bit, and a bit too many.
    for (place, bit, kind) in [
      (0x1000, 5, AccessKind.read), (Bench.entry(8), 5, .read), (Bench.entry(8), 6, .write),
      (Bench.entry(8), 6, .read), (0x2000, 6, .read), (Bench.entry(8), 9, .read),
    ] as [(UInt64, UInt64, AccessKind)] {
      var bench = try bench()
      bench.write([0x2007], at: 0x1000)
      bench.write([24 << 12 | 7], at: Bench.entry(8))
      let access = access(8, kind)
      let verdict = bench.reference.expect(access, in: bench.machine)
      let outcome = bench.machine.access(0, GuestVirtual(0x8000), kind, .user)
      bench.write([bench.read(place) ^ 1 << bit], at: place)
      let spoilt = bench.reference.judge(outcome, of: verdict, in: bench.machine)
      #expect(spoilt != nil)
      bench.write([bench.read(place) ^ 1 << bit], at: place)
      let right = bench.reference.judge(outcome, of: verdict, in: bench.machine)
      #expect(right == nil)
    }
  }

  @Test("a fault that marks an entry is seen")
  func marksOfFault() throws {
    var bench = try bench()
    bench.write([0x2007], at: 0x1000)
    let verdict = bench.reference.expect(access(3), in: bench.machine)
    let outcome = bench.machine.access(0, GuestVirtual(0x3000), .read, .user)
    let right = bench.reference.judge(outcome, of: verdict, in: bench.machine)
    #expect(right == nil)
    bench.write([0x2027], at: 0x1000)
    let spoilt = bench.reference.judge(outcome, of: verdict, in: bench.machine)
    #expect(spoilt != nil)
  }

  @Test("bytes that change under an access are seen, and told beforehand")
  func bytes() throws {
    var bench = try bench()
    let verdict = bench.reference.expect(access(5), in: bench.machine)
    #expect(verdict.bytes(at: GuestPhysical(21 << 12)) == 0x6666_6666)
    #expect(verdict.bytes(at: GuestPhysical(22 << 12)) == nil)
    let outcome = bench.machine.access(0, GuestVirtual(0x5000), .read, .user)
    bench.write([1], at: 21 << 12)
    let spoilt = bench.reference.judge(outcome, of: verdict, in: bench.machine)
    #expect(spoilt != nil)
  }

  @Test("untouched memory reads as zeros, of which nothing is there yet")
  func untouched() throws {
    var bench = try bench()
    bench.write([100 << 12 | 0x67], at: Bench.entry(6))
    let verdict = bench.reference.expect(access(6), in: bench.machine)
    #expect(verdict.bytes(at: GuestPhysical(100 << 12)) == 0)
    bench.expectLawful(0x6000)
    bench.expectLawful(0x6000, .write)
  }

  @Test("a device is reported at the very byte")
  func device() throws {
    var bench = try bench()
    bench.write([0x7000_0067], at: Bench.entry(7))
    let access = ReferenceAccess(.virtual(GuestVirtual(0x7123)), .read)
    let (outcome, verdict, violation) = bench.check(access)
    #expect(violation == nil)
    guard case .device(let address) = outcome else {
      Issue.record("nothing is at 0x70000000")
      return
    }
    #expect(address == GuestPhysical(0x7000_0123))
    let spoilt = bench.reference.judge(
      .device(GuestPhysical(0x7000_0000)), of: verdict, in: bench.machine)
    #expect(spoilt != nil)
  }

  @Test("the dirty log must hold a written page and the tables that were marked")
  func dirtyLog() throws {
    var bench = try bench()
    try bench.machine.setMemoryRegion(
      MemslotRegion(
        id: MemslotID(0), flags: .logDirty, guestAddress: GuestPhysical(0), byteCount: 16 << 20,
        hostAddress: bench.base))
    func frames(_ bench: inout Bench, _ kind: AccessKind) -> [UInt64] {
      let (outcome, verdict, violation) = bench.check(access(9, kind))
      #expect(violation == nil)
      return bench.reference.framesToLog(after: outcome, of: verdict, in: bench.machine)
        .map(\.number)
    }
    let (read, write, again) = (
      frames(&bench, .read), frames(&bench, .write), frames(&bench, .write)
    )
    #expect(read == [] && write == [25, 4] && again == [25])
  }
}
