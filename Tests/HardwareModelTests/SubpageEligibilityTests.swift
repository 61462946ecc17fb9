import HardwareModel
import PagingUnits
import Testing

/// Which accesses sub-pages have a say in, and what the control structure must hold.
@Suite("Sub-page write permissions: eligibility")
struct SubpageEligibilityTests {
  private static let violation = SubpageTests.violation

  // MARK: S1 to S5: controls

  // S1 to S4
  @Test("VM entry checks the pointer when the control is 1, and not otherwise")
  func entry() {
    var features = ProcessorFeatures()
    features.physicalBits = 46
    let ept = SecondDimension.ept(eptp: 0x1000 | 0x1E)
    for (pointer, failure) in [
      (0x1000, nil), (0x1800, .pointer), (0x1001, .pointer), (1 << 46, .pointer),
      ((1 << 46) - 0x1000, nil), (1 << 63, .pointer), (0, nil),
    ] as [(UInt64, SubpageControls.EntryFailure?)] {
      var controls = SubpageControls(pointer: pointer)
      #expect(controls.entryFailure(through: ept, features) == failure)
      for other in [SecondDimension.none, .npt(ncr3: 0x1000, levels: .four)] {
        #expect(controls.entryFailure(through: other, features) == .withoutEPT)
      }
      controls.isEnabled = false
      #expect(controls.entryFailure(through: ept, features) == nil)
      #expect(controls.entryFailure(through: .none, features) == nil)
    }
    features.hasSubpagePermissions = false
    let controls = SubpageControls(pointer: 0x1000)
    #expect(controls.entryFailure(through: ept, features) == .unsupported)
    #expect(SubpageControls.EntryFailure.pointer.instructionError == 7)
  }

  @Test("a processor traps when it is entered with controls that VM entry refuses")
  func refusedEntry() async {
    await #expect(processExitsWith: .failure) {
      let bench = try SubpageWorld()
      bench.controls.pointer |= 0x800
      _ = bench.access(0x5000, .write)
    }
  }

  // S5
  @Test("the pointer is a field of 64 bits with a high half")
  func fields() {
    var controls = SubpageControls()
    #expect(SubpageControls.pointerField == 0x2030 && SubpageControls.controlBit == 0x80_0000)
    let written = controls.write(0x1234_5000, field: 0x2030)
    #expect(written && controls.pointer == 0x1234_5000 && !controls.isEnabled)
    #expect(controls.read(field: 0x2030) == 0x1234_5000 && controls.read(field: 0x2031) == 0)
    let high = controls.write(0x12, field: 0x2031)
    #expect(high && controls.read(field: 0x2030) == 0x12_1234_5000)
    #expect(controls.read(field: 0x2031) == 0x12)
    for neighbour in [0x202E, 0x202F, 0x2032, 0x2033] as [UInt32] {
      let isField = controls.write(0, field: neighbour)
      #expect(!isField && controls.read(field: neighbour) == nil)
    }
  }

  // MARK: S28 to S34: leaves

  // S28
  @Test("a write that the leaf allows goes through whatever the tables hold")
  func writable() throws {
    let bench = try SubpageWorld()
    bench.map(0x5000, 1 << 61 | 0x37)
    bench[0x5000, 4] = 0
    #expect(bench.store(0x5000) == nil)
    #expect(bench.counters.subpageReferences == 0)
  }

  // S29 and S30
  @Test("without bit 61, and without the control, a refused write is an EPT violation")
  func notInUse() throws {
    let bench = try SubpageWorld()
    bench.map(0x5000, 0x35)
    bench[0x5000, 4] = 0
    #expect(bench.access(0x5000, .write).qualification == Self.violation)
    let off = try SubpageWorld()
    off.vector = SubpageTests.everything
    off.controls.isEnabled = false
    off.controls.pointer = 0xFFF
    #expect(off.access(0x5000, .write).qualification == Self.violation)
    #expect(bench.counters.subpageReferences == 0 && off.counters.subpageReferences == 0)
  }

  // S31
  @Test("bit 61 means nothing in a leaf of a large page", arguments: [2, 3])
  func largePages(_ depth: Int) throws {
    let bench = try SubpageWorld(.off)
    let guest: UInt64 = 0x4000_0000
    bench.world.mapSecond(guest, to: 0, depth: depth)
    bench.world[second: guest, depth] =
      bench.world[second: guest, depth] & ~2 | SubpagePermission.leafBit
    #expect(bench.access(guest, .write).qualification == Self.violation)
    #expect(bench.access(guest, .read).translation?.hostPhysical == HostPhysical(0))
    #expect(bench.counters.subpageReferences == 0)
    // The bit is not reserved in entries that point to tables either.
    bench.world[second: 0x5000, 2] |= SubpagePermission.leafBit
    bench.vector = 1
    #expect(bench.store(0x5000) == nil)
  }

  // S33
  @Test("what may not be read is not eligible")
  func executeOnly() throws {
    let bench = try SubpageWorld(.off)
    bench.vector = SubpageTests.everything
    bench.map(0x5000, 1 << 61 | 0x34)
    #expect(bench.access(0x5000, .write).qualification == 0x1A2)
    // The rights count together: an upper entry takes reading away as well.
    let upper = try SubpageWorld(.off)
    upper.vector = SubpageTests.everything
    upper.world[second: 0x5000, 2] = upper.world[second: 0x5000, 2] & ~0b011
    #expect(upper.access(0x5000, .write).qualification == 0x1A2)
    #expect(upper.counters.subpageReferences == 0)
  }

  // S34
  @Test("an upper entry that forbids writing makes a writable leaf eligible", arguments: [2, 3, 4])
  func cumulative(_ depth: Int) throws {
    let bench = try SubpageWorld(.off)
    bench.vector = 1
    bench.map(0x5000, 1 << 61 | 0x37)
    bench.world[second: 0x5000, depth] &= ~0b010
    #expect(bench.store(0x5000) == nil)
    #expect(bench.access(0x5080, .write).qualification == Self.violation)
    #expect(bench.counters.subpageReferences == 8)
  }

  // MARK: S35 to S37: the guest's own tables

  /// A bench whose page at 0x5000 is the guest's table for linear addresses from 2 MiB, open to
  /// every write.
  private func tableBench(accessed: Bool, secondMarks: Bool) throws -> SubpageWorld {
    let bench = try SubpageWorld()
    bench.world.usesSecondMarks = secondMarks
    bench.vector = SubpageTests.everything
    bench.world[0x20_0000, 2] = 0x5000 | 0x67
    bench.world[0x20_0000, 1] = 0x7000 | (accessed ? 0x67 : 0x7)
    bench.world[0, 3] |= 0x20
    bench.world[0, 4] |= 0x20
    bench.map(0x7000, 0x37)
    return bench
  }

  // S35
  @Test("setting an accessed or dirty bit of the guest's is not eligible")
  func marking() throws {
    let bench = try tableBench(accessed: false, secondMarks: false)
    for kind in [AccessKind.read, .write] {
      #expect(bench.access(0x20_0000, kind).qualification == 0xAA)
      #expect(bench.access(0x20_0000, kind).exitAddress == 0x5000)
    }
    #expect(bench.counters.subpageReferences == 0)
  }

  // S36
  @Test("with accessed and dirty bits in EPT no access to a table of the guest's is eligible")
  func walking() throws {
    let bench = try tableBench(accessed: true, secondMarks: true)
    // Reading an entry counts as a read and a write.
    #expect(bench.access(0x20_0000, .read).qualification == 0xAB)
    #expect(bench.counters.subpageReferences == 0)
  }

  // S37
  @Test("a walk that sets nothing goes through a guarded page")
  func walkingOnly() throws {
    let bench = try tableBench(accessed: true, secondMarks: false)
    #expect(bench.access(0x20_0000, .write).translation?.guestPhysical == GuestPhysical(0x7000))
  }

  @Test("an access without a linear address is not eligible")
  func withoutLinear() throws {
    let bench = try SubpageWorld()
    bench.vector = SubpageTests.everything
    var processor = bench.world.processor()
    processor.subpageControls = bench.controls
    let outcome = processor.translate(
      guestPhysical: GuestPhysical(0x5000), .write, through: bench.world.dimension)
    // Without a linear address bits 7 and 8 are 0.
    #expect(outcome.qualification == 0x2A)
  }

  @Test("a page that is absent, or malformed, is what it is whatever the tables hold")
  func absent() throws {
    let bench = try SubpageWorld()
    bench.vector = SubpageTests.everything
    bench.world[second: 0x5000, 1] = 1 << 61
    #expect(bench.access(0x5000, .write).qualification == 0x182)
    bench.map(0x5000, 1 << 61 | 0x15)
    #expect(
      bench.access(0x5000, .write) == .exit(.eptMisconfiguration(GuestPhysical(0x5000))))
  }
}
