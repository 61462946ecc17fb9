import GuestMemory
import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import VirtualMachine
import X86Paging

@testable import ShadowMMU

/// The rooms of a machine and the state of one processor more, which a test drives by hand.
///
/// So can a root be built from any role, whether or not a guest that runs could have it.
struct RootBench: ~Copyable {
  let bench: Bench
  var state = ShadowState()
  let counters = CounterRow()

  init(
    _ design: MachineConfiguration.SpecialRootKind, host: UInt64 = 1 << 30,
    changing change: (inout MachineConfiguration) -> Void = { _ in }
  ) throws {
    var configuration = MachineConfiguration()
    change(&configuration)
    configuration.mmu = .shadow
    configuration.specialRoots = design
    bench = try Bench(configuration, slot: 32 << 20, backing: .page4K, host: host)
  }

  var tables: PageTables {
    _read { yield bench.machine.tables }
  }

  /// Loads a root for a guest's own registers.
  mutating func load(_ registers: ControlRegisters) -> ShadowMMU.Load {
    adopt(registers)
    return state.root == .none ? loadRoot(registers) : .loaded
  }

  mutating func adopt(_ registers: ControlRegisters) {
    _ = bench.machine.shadow.adopt(
      registers, in: .normal, features: PagingFeatures(), &state, bench.machine.tables,
      bench.machine.slots, bench.machine.process)
  }

  /// Loads a root over the nested page tables of a guest in `host`'s mode.
  ///
  /// A processor has another MMU for that, with bare tables of its own.
  mutating func loadNested(_ host: ControlRegisters, levels: Level) -> ShadowMMU.Load {
    if state.root == .none, state.special.isPartial(for: Int(levels.depth)) {
      bench.machine.shadow.freeBareTables(
        &state, bench.machine.tables, bench.machine.process.host)
    }
    return loadNestedHere(host, levels: levels)
  }

  /// The same, with whatever bare tables are there.
  mutating func loadNestedHere(_ host: ControlRegisters, levels: Level) -> ShadowMMU.Load {
    var walked = host
    walked.cr0 = 1 << 31 | 1
    let role = ProcessorRole.nested(host, in: .normal)
    bench.machine.shadow.take(
      role, role.nestedRootRole(levels: levels), WalkRules(walked, features: PagingFeatures()),
      &state)
    return loadRoot(host)
  }

  mutating func loadRoot(_ registers: ControlRegisters) -> ShadowMMU.Load {
    bench.machine.shadow.load(
      registers, &state, bench.machine.tables, bench.machine.slots, bench.machine.process)
  }

  /// Resolves a fault of a guest in these registers.
  mutating func fault(
    _ address: UInt64, _ kind: AccessKind, _ registers: ControlRegisters
  ) -> ShadowFaultOutcome {
    // SAFETY: the bench stays in place for the call.
    unsafe withUnsafePointer(to: bench) { bench in
      var memory = unsafe BenchMemory(bench: bench)
      return unsafe bench.pointee.machine.shadow.fault(
        ShadowFault(
          address: GuestVirtual(address), kind: kind, privilege: .supervisor,
          errorCode: PageFaultErrorCode(asking: kind, by: .supervisor), processor: 0),
        registers, &state, bench.pointee.machine.tables, bench.pointee.machine.slots,
        bench.pointee.machine.process, counters, in: &memory, telling: bench.pointee.machine)
    }
  }

  mutating func free(_ selection: ShadowMMU.RootSelection) {
    bench.machine.shadow.freeRoots(
      selection, &state, bench.machine.tables, bench.machine.slots, bench.machine.process.host)
  }

  /// Gives everything back, as a processor that goes.
  mutating func end() {
    free(.all)
    bench.machine.shadow.freeBareTables(
      &state, bench.machine.tables, bench.machine.process.host)
    bench.machine.tables.drain(&state.cache, to: bench.machine.process.host)
  }

  // MARK: Looking

  /// The words of the table that the hardware's walk starts at.
  func rootWords() -> [UInt64] {
    guard let frame = bench.machine.shadow.rootFrame(state, bench.machine.tables) else { return [] }
    return words(frame)
  }

  /// Whether the root may not be used any more.
  var isObsolete: Bool {
    bench.machine.shadow.isObsolete(state, bench.machine.tables)
  }

  /// The frame of the table that the hardware's walk starts at.
  var rootFrame: HostFrame? {
    bench.machine.shadow.rootFrame(state, bench.machine.tables)
  }

  func words(_ frame: HostFrame) -> [UInt64] {
    (0..<512).map { bench.machine.tables.memory.entry(at: frame.address + UInt64($0) * 8) }
  }

  /// The frame that an entry points to.
  func target(_ word: UInt64) -> HostFrame {
    bench.machine.tables.encoding.frame(of: SPTE(raw: word))
  }

  /// Whether a table was taken out of encryption.
  func isClear(_ frame: HostFrame) -> Bool {
    bench.machine.process.host.records.isDecrypted(frame)
  }

  /// How many were.
  var clearFrames: Int { bench.machine.process.host.clearFrames }

  /// The row of the page that lies in the frame that an entry points to.
  func row(_ word: UInt64) -> ShadowPage {
    bench.machine.tables.arena[
      bench.machine.tables.page(of: target(word), bench.machine.process.host)]
  }

  func id(_ word: UInt64) -> ShadowPageID {
    bench.machine.tables.page(of: target(word), bench.machine.process.host)
  }
}

/// The guest's tables of a test.
@safe private struct BenchMemory: GuestTableMemory, ~Copyable {
  let bench: UnsafePointer<Bench>

  private func word(_ address: GuestPhysical) -> UInt64? {
    // SAFETY: the bench outlives the memory.
    unsafe address.raw + 8 <= bench.pointee.byteCount
      ? bench.pointee.read(address.raw & ~7) : nil
  }

  mutating func entry(at address: GuestPhysical) -> EntryRead {
    word(address).map { .entry($0) } ?? .absent
  }

  mutating func shortEntry(at address: GuestPhysical) -> EntryRead {
    guard let word = word(address) else { return .absent }
    return .entry(word >> (8 * (address.raw & 4)) & 0xFFFF_FFFF)
  }

  mutating func exchange(
    _ expected: UInt64, for desired: UInt64, at address: GuestPhysical
  ) -> EntryExchange {
    // SAFETY: the bench outlives the memory.
    unsafe bench.pointee.write(desired, 8, at: address.raw)
    return .exchanged
  }

  mutating func exchangeShort(
    _ expected: UInt32, for desired: UInt32, at address: GuestPhysical
  ) -> EntryExchange {
    // SAFETY: the bench outlives the memory.
    unsafe bench.pointee.write(UInt64(desired), 4, at: address.raw)
    return .exchanged
  }
}
