import Glibc
import GuestMemory
import HostMemory
import MachineChecks
import MachineEvents
import PagingUnits
import SparseMemory
import Synchronization
import Testing
import VirtualMachine

/// A machine that several threads reach, with a map of what each part of its memory is for.
///
///     guest-physical                    backing      what happens to it
///     0x0000_0000  2 MiB   `moved`      4 KiB        everything that keeps its bytes
///     0x0020_0000  2 MiB   `dropped`    4 KiB        unmapped, swapped, protected
///     0x0040_0000  4 MiB   `large`      2 MiB        split, collapsed, unmapped, moved
///     0x0080_0000  64 KiB  `tables`     4 KiB        the guest's page tables: moved, aged
///     0x0100_0000  1 MiB   slot 2       4 KiB        created, deleted, moved, re-flagged
///     0x0200_0000  …       no slot      -            devices
@safe final class ParallelMachine: @unchecked Sendable {
  /// What processors the machine has.
  enum Kind: String, Sendable, CustomTestStringConvertible {
    case intel, intelWithoutAccessedBits, amd, shadow, shadowWithLocalPages
    var testDescription: String { rawValue }

    /// Whether the guest's own tables are shadowed.
    var isShadow: Bool { self == .shadow || self == .shadowWithLocalPages }
  }

  static let moved = UInt64(0)..<(2 << 20)
  static let dropped = UInt64(2 << 20)..<(4 << 20)
  static let large = UInt64(4 << 20)..<(8 << 20)
  static let tables = UInt64(8 << 20)..<(8 << 20 + 1 << 16)
  static let arranged = UInt64(16 << 20)..<(18 << 20)
  static let processors = 3

  /// Whether the guest's own tables are shadowed.
  let isShadow: Bool

  // Fields end in this order: the machine before the buffers it lies in.
  let machine: VirtualMachine
  private let buffers: SparseHost
  private let nobody: UnsafeMutableRawPointer
  /// Where guest-physical 0, `large`, `tables` and slot 2 lie in the host process.
  private let base: HostVirtual
  private let largeBase: HostVirtual
  private let tablesBase: HostVirtual
  let slotBase: HostVirtual

  init(_ kind: Kind) throws {
    isShadow = kind.isShadow
    var made = MachineConfiguration()
    if isShadow {
      made.mmu = .shadow
      made.specialRoots = kind == .shadow ? .tables : .localPages
      // So few that the oldest go all the time.
      made.shadowPageLimit = 80
    }
    made.processors = Self.processors
    made.vendor = kind == .amd ? .amd : .intel
    if kind == .intelWithoutAccessedBits { made.accessedDirty = .absent }
    // However long somebody in the way is kept from running, waiting for it is no lack of progress.
    made.retryLimit = .max
    let buffers = try SparseHost(byteCount: 1 << 30)
    let process = try HostAddressSpace(sharing: buffers.makeHost())
    let base = try process.add(
      HostRegionRequest(
        byteCount: Self.dropped.upperBound, backing: .anonymous(largestPage: .page4K)))
    let large = try process.add(
      HostRegionRequest(byteCount: 4 << 20, backing: .anonymous(largestPage: .page2M)))
    let tables = try process.add(
      HostRegionRequest(byteCount: 1 << 16, backing: .anonymous(largestPage: .page4K)))
    let slotBase = try process.add(
      HostRegionRequest(byteCount: 1 << 20, backing: .anonymous(largestPage: .page4K)))
    var watch = VirtualMachine.Watch()
    // Whoever waits lets others run. The rest of the time a thread runs on: the more the threads
    // really meet, the better.
    let nobody = UnsafeMutableRawPointer.allocate(byteCount: 1, alignment: 1)
    unsafe self.nobody = nobody
    // SAFETY: the hook does not use its context, which outlives the machine all the same.
    watch.interleaver = unsafe Interleaver(context: nobody) { _, point, number in
      let waits = InterleavingPoint(rawValue: point)?.isWaiting ?? false
      if waits || number & 7 == 5 { sched_yield() }
    }
    machine = VirtualMachine(made, process: process, watch: watch)
    self.buffers = buffers
    self.base = base
    largeBase = large
    tablesBase = tables
    self.slotBase = slotBase
    let slots: [(UInt16, UInt64, UInt64, HostVirtual)] = [
      (0, 0, 4 << 20, base), (1, Self.large.lowerBound, 4 << 20, large),
      (3, Self.tables.lowerBound, 1 << 16, tables),
    ]
    for (number, start, size, address) in slots {
      for space in AddressSpace.allCases {
        try machine.setMemoryRegion(
          MemslotRegion(
            id: MemslotID(number), addressSpace: space, guestAddress: GuestPhysical(start),
            byteCount: size, hostAddress: address))
      }
    }
    writeGuestTables()
  }

  deinit { unsafe nobody.deallocate() }

  /// The host process's address of a guest-physical byte outside slot 2.
  func host(_ address: UInt64) -> HostVirtual {
    if Self.large.contains(address) { return largeBase + (address - Self.large.lowerBound) }
    if Self.tables.contains(address) { return tablesBase + (address - Self.tables.lowerBound) }
    return base + address
  }

  /// The host's addresses of `count` pages from the one that holds a guest-physical byte.
  func pages(_ address: UInt64, _ count: UInt64 = 1) -> Range<HostVirtual> {
    let start = host(address & ~0xFFF)
    return start..<(start + count << 12)
  }

  // MARK: The guest's own tables

  /// The word that maps a linear page below 2 MiB.
  static func place(ofEntry page: UInt64) -> UInt64 { tables.lowerBound + 0x3000 + page * 8 }

  /// Linear 0…2 MiB is `moved` page by page, linear 4…8 MiB is `large` by 2 MiB, linear 8 MiB on is
  /// `tables`.
  private func writeGuestTables() {
    let start = Self.tables.lowerBound
    write(start + 0x1000 | 7, at: start)
    write(start + 0x2000 | 7, at: start + 0x1000)
    // A PDPTE of PAE paging has no rights.
    write(start + 0x2000 | 1, at: start + 0x5000)
    write(start + 0x3000 | 7, at: start + 0x2000)
    for index in [2, 3] as [UInt64] { write(index << 21 | 0x87, at: start + 0x2000 + index * 8) }
    write(start + 0x4000 | 7, at: start + 0x2000 + 4 * 8)
    for page in 0..<512 as Range<UInt64> { write(page << 12 | 7, at: Self.place(ofEntry: page)) }
    for page in 0..<16 as Range<UInt64> {
      write(start + page << 12 | 7, at: start + 0x4000 + page * 8)
    }
  }

  /// Writes an 8-byte word as the VMM.
  func write(_ word: UInt64, at address: UInt64) {
    let words = [word]
    let done = unsafe machine.write(words.span.bytes, to: GuestPhysical(address))
    precondition(done == 8, "a test writes inside its slots")
  }

  /// Has a processor walk the guest's tables, in 64-bit mode.
  func turnPagingOn(of processor: Int) {
    var registers = ControlRegisters()
    (registers.cr0, registers.cr4, registers.efer) = (0x8001_0001, 0x20, 0x500)
    registers.cr3 = Self.tables.lowerBound
    machine[registersOf: processor] = registers
  }

  /// The guest's ways to translate, which all lead to `moved`, `large` and `tables`.
  enum Mode: UInt64, CaseIterable { case unpaged, extended, fourLevels }

  /// Has a processor translate so.
  func switchMode(of processor: Int, to mode: Mode) {
    var registers = ControlRegisters()
    registers.cr0 = mode == .unpaged ? 1 : 0x8001_0001
    registers.cr4 = mode == .unpaged ? 0 : 0x20
    registers.efer = mode == .fourLevels ? 0x500 : 0
    registers.cr3 = Self.tables.lowerBound + (mode == .extended ? 0x5000 : 0)
    let outcome = machine.replaceControls(processor, with: registers)
    precondition(outcome == .accepted, "a test sets registers that exist")
  }

  // MARK: At rest

  /// What a full check finds when every thread has ended.
  func violationAtRest() throws -> Violation? {
    try machine.protectHost(pages(Self.dropped.lowerBound, 512), as: .readWrite)
    for processor in 0..<Self.processors {
      // It serves what is still asked of it.
      let outcome =
        isShadow
        ? machine.access(processor, GuestVirtual(0x1000), .read, .supervisor)
        : machine.access(processor, GuestPhysical(0x1000), .write)
      guard case .translated = outcome else { return Violation("an access", found: "\(outcome)") }
    }
    return MachineInspection.violation(in: machine)
  }
}
