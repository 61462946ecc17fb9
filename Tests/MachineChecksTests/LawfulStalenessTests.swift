import HardwareModel
import MachineChecks
import PagingUnits
import Testing
import VirtualMachine

@Suite("What a TLB may keep of the guest's tables")
struct LawfulStalenessTests {
  private static let target: UInt64 = 16 << 12

  private func bench(cr4: UInt64 = 0, flags: UInt64 = 0) throws -> Bench {
    let bench = try Bench()
    bench.setUpPaging(cr4: cr4, flags: flags)
    return bench
  }

  @Test("a page that moved is found at either place until INVLPG, and then at the new one")
  func moved() throws {
    var bench = try bench()
    bench.expectLawful(0)
    bench.write([20 << 12 | 0x67], at: Bench.entry(0))
    bench.expectDestinations([Self.target, 20 << 12])
    let stale = bench.check(ReferenceAccess(.virtual(GuestVirtual(0)), .read))
    #expect(stale.violation == nil)
    guard case .translated(let translation) = stale.outcome else {
      Issue.record("the machine keeps no translation")
      return
    }
    #expect(translation.guestPhysical.raw == Self.target)
    bench.invalidate(.linearAddress(GuestVirtual(0x123)))
    bench.expectDestinations([20 << 12])
    bench.expectLawful(0)
  }

  @Test(
    "a table that was exchanged is walked at either place until anything of the PCID is flushed")
  func exchangedTable() throws {
    var bench = try bench()
    bench.expectLawful(0x5000)
    bench.write([30 << 12 | 0x67], at: 0x9000)
    bench.write([0x9027], at: 0x3000)
    // The page itself was never walked to: only its tables may be kept.
    bench.expectDestinations([Self.target, 30 << 12])
    bench.expectLawful(0)
    // INVLPG forgets every table of the PCID, whatever its address; the page that was walked to
    // meanwhile may be kept.
    bench.invalidate(.linearAddress(GuestVirtual(0x7FFF_0000)))
    bench.invalidate(.linearAddress(GuestVirtual(0)))
    bench.expectDestinations([30 << 12])
    bench.expectLawful(0)
  }

  @Test("what was not present, or not walked, is never stale")
  func neverKept() throws {
    var bench = try bench()
    bench.write([0], at: Bench.entry(0))
    bench.expectLawful(0)
    bench.write([21 << 12 | 0x67], at: Bench.entry(0))
    bench.expectDestinations([21 << 12])
    bench.write([22 << 12 | 0x67], at: Bench.entry(0))
    bench.expectDestinations([22 << 12])
    bench.expectLawful(0)
  }

  @Test("a page fault forgets what would be used for its address")
  func forgottenByFault() throws {
    var bench = try bench()
    bench.expectLawful(0)
    bench.write([23 << 12 | 0x65], at: Bench.entry(0))
    // The kept translation may be written; once it is gone a write faults.
    bench.machine.invalidate(0, .linearAddress(GuestVirtual(0)))
    bench.expectLawful(0, .write)
    bench.expectDestinations([23 << 12])
  }

  @Test("a global translation outlives MOV to CR3 and not INVPCID of everything")
  func global() throws {
    var bench = try bench(cr4: 1 << 7, flags: 1 << 8)
    bench.expectLawful(0)
    bench.write([20 << 12 | 0x167], at: Bench.entry(0))
    bench.invalidate(.currentSpace)
    bench.expectDestinations([Self.target, 20 << 12])
    bench.expectLawful(0)
    bench.invalidate(.allLinear)
    bench.expectDestinations([20 << 12])
    bench.expectLawful(0)
  }

  @Test("translations of one PCID serve no other, and come back with it")
  func pcids() throws {
    var bench = try bench(cr4: 1 << 17)
    bench.expectLawful(0)
    bench.write([20 << 12 | 0x67], at: Bench.entry(0))
    bench.machine[registersOf: 0].cr3 = 0x1005
    bench.expectDestinations([20 << 12])
    bench.expectLawful(0)
    bench.machine[registersOf: 0].cr3 = 0x1000
    bench.expectDestinations([Self.target, 20 << 12])
    bench.expectLawful(0)
    bench.invalidate(.space(pcid: 5))
    bench.expectDestinations([Self.target, 20 << 12])
    bench.invalidate(.space(pcid: 0))
    bench.expectDestinations([20 << 12])
  }

  @Test("a clean translation that is kept serves no write before the dirty bit is set")
  func clean() throws {
    var bench = try bench()
    bench.expectLawful(0x8000)
    let clean = bench.read(Bench.entry(8))
    #expect(clean >> 6 & 1 == 0)
    bench.expectLawful(0x8000, .write)
    let dirty = bench.read(Bench.entry(8))
    #expect(dirty >> 6 & 1 == 1)
  }

  @Test("a processor that skips an invalidation is caught, at its next access and without one")
  func skipped() throws {
    for what in [
      Invalidation.linearAddress(GuestVirtual(0)), .currentSpace, .allLinear, .space(pcid: 0),
      .allSpaces, .linearAddressIn(pcid: 0, GuestVirtual(0)),
    ] {
      var bench = try bench()
      bench.expectLawful(0)
      bench.write([20 << 12 | 0x67], at: Bench.entry(0))
      bench.reference.invalidated(0, what, in: bench.machine)
      let kept = bench.reference.violation(inKeptOf: 0, in: bench.machine)
      let next = bench.violation(0)
      #expect(kept != nil && next != nil, "\(what)")
    }
  }

  @Test("another processor's invalidation is its own")
  func otherProcessor() throws {
    var configuration = MachineConfiguration()
    configuration.processors = 2
    var bench = try Bench(configuration)
    bench.setUpPaging()
    bench.expectLawful(0)
    bench.write([20 << 12 | 0x67], at: Bench.entry(0))
    bench.invalidate(.allLinear, of: 1)
    bench.expectDestinations([Self.target, 20 << 12])
    bench.expectLawful(0)
  }

  @Test("writing a register forgets what the manual says and no more")
  func registers() throws {
    func left(
      _ register: Reference.WrittenRegister, cr4: UInt64 = 0,
      _ change: (inout ControlRegisters) -> Void
    ) throws -> Bool {
      var bench = try bench(cr4: cr4)
      _ = bench.violation(0)
      bench.write([20 << 12 | 0x67], at: Bench.entry(0))
      let old = bench.machine[registersOf: 0]
      change(&bench.machine[registersOf: 0])
      bench.reference.wrote(0, register, from: old, in: bench.machine)
      return bench.destinations(0).contains(Self.target)
    }
    #expect(try left(.cr0) { $0.cr0 &= ~(1 << 16) })
    #expect(try !left(.cr3(0x1000)) { _ in })
    #expect(try left(.cr3(1 << 63 | 0x1000), cr4: 1 << 17) { _ in })
    #expect(try !left(.cr3(0x1000), cr4: 1 << 17) { _ in })
    #expect(try !left(.cr4) { $0.cr4 |= 1 << 7 })
    #expect(try !left(.cr4) { $0.cr4 |= 1 << 20 })
    #expect(try !left(.cr4, cr4: 1 << 17) { $0.cr4 &= ~(1 << 17) })
    #expect(try left(.cr4) { $0.cr4 |= 1 << 21 })
    #expect(try !left(.everything) { _ in })
  }
}
