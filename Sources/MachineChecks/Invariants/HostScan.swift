import PageTables
import HostMemory
import PagingUnits
import VirtualMachine

/// A walk over the host process's own page table and its page caches: what they hold, and the first
/// page whose record counts its mappings wrongly.
struct HostScan {
  /// The frames of tables, those set aside under huge pages included.
  private(set) var tables: UInt64 = 0
  /// The frames of pages that some entry maps, each once.
  private(set) var anonymous: UInt64 = 0
  private(set) var file: UInt64 = 0
  private(set) var swapped: UInt64 = 0
  private(set) var poisoned: UInt64 = 0
  private(set) var fault: String?
  /// The pages that are mapped once.
  private var unshared = FrameSet()
  /// The pages that say they are mapped more than once, as often as they are.
  private var shared: [UInt64] = []

  init(_ machine: borrowing VirtualMachine) {
    walk(machine.process.root, .level4, machine)
    if let copy = machine.process.forkedCopy { walk(copy, .level4, machine) }
    var position = 0
    while let cache = machine.process.pageCache(position) {
      walk(cache, .level4, machine)
      position += 1
    }
    countShared(machine)
  }

  /// Walks a table and those under it; the recursion is as deep as the host's tables, four.
  private mutating func walk(
    _ table: HostFrame, _ level: Level, _ machine: borrowing VirtualMachine
  ) {
    tables += 1
    let records = machine.process.host.records
    if !machine.tables.memory.contains(table) || records.kind(of: table) != .hostTable {
      fault = fault ?? "the host's table in frame \(hex(table.number)) is not taken for one"
      return
    }
    var next = 0
    while let (index, entry) = machine.process.entry(of: table, level, from: next) {
      next = index + 1
      switch entry.meaning {
      case .table, .tableSetAside:
        if let below = level.below { walk(entry.frame, below, machine) }
      case .swapped: count(entry, machine)
      case .page:
        count(entry, machine)
        if let below = level.below, let aside = machine.process.tableSetAside(under: entry.frame) {
          walk(aside, below, machine)
        }
      case .uncountedPage:
        let isSpecial =
          entry.frame == machine.process.host.zeroFrame
          || machine.process.host.deviceFrames.contains(entry.frame)
          || !machine.tables.memory.contains(entry.frame)
        if !isSpecial {
          fault = fault ?? "frame \(hex(entry.frame.number)) is memory and mapped uncounted"
        }
      case .poisoned: poisoned += 1
      case .other: break
      }
    }
  }

  private mutating func count(_ entry: HostTableEntry, _ machine: borrowing VirtualMachine) {
    let records = machine.process.host.records
    let frame = entry.frame
    guard machine.tables.memory.contains(frame) else {
      fault = fault ?? "frame \(hex(frame.number)) is mapped and lies outside memory"
      return
    }
    let kind = records.kind(of: frame)
    let isRight =
      entry.meaning == .swapped ? kind == .swapped : kind == .anonymous || kind == .file
    if !isRight || records.order(of: frame) != FrameOrder(entry.level) {
      fault =
        fault ?? "frame \(hex(frame.number)) is mapped at level \(entry.level.depth) and is "
        + "\(kind) of order \(records.order(of: frame).exponent)"
    } else if records.mappings(of: frame) == 1 {
      if !unshared.insert(frame) {
        fault = fault ?? "frame \(hex(frame.number)) is mapped twice, its record says once"
      }
      add(frame, machine)
    } else {
      shared.append(frame.number)
    }
  }

  private mutating func add(_ frame: HostFrame, _ machine: borrowing VirtualMachine) {
    let records = machine.process.host.records
    let count = records.order(of: frame).frameCount
    switch records.kind(of: frame) {
    case .file: file += count
    case .swapped: swapped += count
    default: anonymous += count
    }
  }

  /// Compares how often each shared page was met with what its record says.
  private mutating func countShared(_ machine: borrowing VirtualMachine) {
    shared.sort()
    var start = 0
    while start < shared.count {
      var end = start
      while end < shared.count && shared[end] == shared[start] { end += 1 }
      let frame = HostFrame(shared[start])
      let stated = machine.process.host.records.mappings(of: frame)
      if Int(stated) != end - start {
        fault =
          fault ?? "frame \(hex(frame.number)) is mapped \(end - start) times, its record says "
          + "\(stated)"
      }
      add(frame, machine)
      start = end
    }
  }
}
