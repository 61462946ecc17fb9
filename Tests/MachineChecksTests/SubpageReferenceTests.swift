import GuestMemory
import HardwareModel
import MachineChecks
import PageTables
import PagingUnits
import Testing
import VirtualMachine

/// What the reference makes of writes to pages with sub-pages that may not be written.
@Suite("The reference and sub-pages")
struct SubpageReferenceTests {
  /// A machine whose linear page 0 lies at frame 16, whose sub-pages 1 and 3 may be written.
  private func bench() throws -> Bench {
    var configuration = MachineConfiguration()
    configuration.subpages = .present
    let bench = try Bench(configuration)
    bench.setUpPaging()
    try bench.machine.enableSubpageProtection()
    try bench.machine.setSubpageAccess(
      [SubpageAccess(rawValue: 0b1010)], from: GuestFrame(16))
    return bench
  }

  private func write(
    _ address: UInt64, _ count: Int = 1, by performer: ReferenceAccess.Performer = .processor
  ) -> ReferenceAccess {
    ReferenceAccess(
      .virtual(GuestVirtual(address)), .write, by: performer, byteCount: min(count, 8),
      touching: count)
  }

  /// Whether an outcome is a refusal.
  private func isRefusal(_ outcome: AccessOutcome) -> Bool {
    if case .subpageRefused = outcome { true } else { false }
  }

  @Test(
    "a write ends as the map says, whoever performs it, and the reference agrees",
    arguments: [ReferenceAccess.Performer.processor, .hypervisor])
  func everySubpage(performer: ReferenceAccess.Performer) throws {
    var bench = try bench()
    for offset in stride(from: 0, to: 4096, by: 8) as StrideTo<UInt64> {
      for count in [1, 8, 16, 200] where offset + UInt64(count) <= 4096 {
        let first = offset / 128
        let last = (offset + UInt64(count) - 1) / 128
        let isOpen = (first...last).allSatisfy { $0 == 1 || $0 == 3 }
        let (outcome, _, violation) = bench.check(write(offset, count, by: performer))
        if let violation { Issue.record("\(offset), \(count): \(violation)") }
        #expect(isRefusal(outcome) != isOpen, "\(offset), \(count)")
      }
    }
    let read = bench.violation(0)
    #expect(read == nil)
  }

  @Test("a write that goes through where it must not is refused, and the other way round")
  func wrongOutcomes() throws {
    var bench = try bench()
    let (through, open, lawful) = bench.check(write(128))
    let (refusal, closed, refused) = bench.check(write(0))
    #expect(lawful == nil && refused == nil)
    guard case .translated(var translation) = through, case .subpageRefused = refusal else {
      Issue.record("\(through), \(refusal)")
      return
    }
    let wrongRefusal = bench.reference.judge(
      .subpageRefused(translation), of: open, in: bench.machine)
    #expect(wrongRefusal != nil)
    // It may be written again, but not without being asked about.
    translation.usable.insert(.write)
    let unasked = bench.reference.judge(.translated(translation), of: open, in: bench.machine)
    #expect(unasked != nil)
    translation.usable.remove(.write)
    translation.hostPhysical = HostPhysical(translation.hostPhysical.raw - 128)
    translation.guestPhysical = GuestPhysical(translation.guestPhysical.raw - 128)
    let wrongPass = bench.reference.judge(.translated(translation), of: closed, in: bench.machine)
    #expect(wrongPass != nil)
    for outcome in [
      .subpageMiss(GuestPhysical(16 << 12)), .subpageMisconfiguration(GuestPhysical(16 << 12)),
      .pageFault(errorCode: 7), .device(GuestPhysical(16 << 12)),
    ] as [AccessOutcome] {
      let violation = bench.reference.judge(outcome, of: closed, in: bench.machine)
      #expect(violation != nil)
    }
  }

  @Test("once the map has changed nothing goes by the old one")
  func changes() throws {
    var bench = try bench()
    for round in 0..<64 as Range<UInt32> {
      let word = round &* 0x9E37_79B9 ^ round << 27
      try bench.machine.setSubpageAccess([SubpageAccess(rawValue: word)], from: GuestFrame(16))
      for subpage in 0..<32 as Range<UInt64> {
        let (outcome, _, violation) = bench.check(write(subpage * 128 + 5))
        if let violation { Issue.record("\(violation)") }
        #expect(isRefusal(outcome) == (word >> UInt32(subpage) & 1 == 0))
      }
      let kept = KeptTranslations.violation(in: bench.machine, of: 0)
      #expect(kept == nil)
    }
  }

  @Test("a permission that a processor keeps after it was taken away shows without an access")
  func staleVector() throws {
    var bench = try bench()
    let (_, _, violation) = bench.check(write(128))
    let before = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(violation == nil && before == nil)
    // The map changes behind everybody's back.
    let found = bench.machine.slots.slot(MemslotID(0), in: .normal)
    let slot = try #require(found)
    let row = MapRow(number: slot.metadata.row, base: slot.baseFrame)
    bench.machine.tables.subpages[row, GuestFrame(16)] = SubpageAccess(rawValue: 0b1000)
    let after = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(after?.rule.contains("sub-page that was taken away") == true)
    // What it keeps lets the write through, which the reference notices too.
    let (_, _, stale) = bench.check(write(128))
    #expect(stale != nil)
    bench.machine.invalidate(0, .everything)
    let forgotten = KeptTranslations.violation(in: bench.machine, of: 0)
    #expect(forgotten == nil)
  }
}
