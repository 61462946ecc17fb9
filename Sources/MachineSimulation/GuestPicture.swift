import PagingUnits

/// What the fuzzer believes of the guest: what it has asked for, not what the machine made of it.
///
/// It never looks at the machine, so that a run's operations depend on its seed alone.
struct GuestPicture: Sendable {
  /// A slot that was asked for.
  struct Slot: Hashable, Sendable {
    var id: UInt16
    var space: AddressSpace
    var address: UInt64
    var byteCount: UInt64
    var isReadOnly: Bool
    var logsWrites: Bool
    var backing: SlotBacking
  }

  /// The registers of a processor that were asked for.
  struct Processor: Hashable, Sendable {
    var cr0: UInt64 = 0x10
    var cr3: UInt64 = 0
    var cr4: UInt64 = 0
    var efer: UInt64 = 0

    var shape: PagingShape { PagingShape(cr0: cr0, cr4: cr4, efer: efer) }
  }

  /// A table of the guest's.
  struct Table: Hashable, Sendable {
    var place: UInt64
    var depth: Int
    var shape: PagingShape
    /// The linear address that its first entry translates.
    var linear: UInt64
  }

  /// An entry of the guest's.
  struct Entry: Hashable, Sendable {
    var place: UInt64
    var value: UInt64
    var depth: Int
    var shape: PagingShape
    var linear: UInt64
  }

  /// A linear page that was mapped to a page in which a table lies.
  struct Window: Hashable, Sendable {
    var linear: UInt64
    var place: UInt64
  }

  /// The last windows.
  private(set) var windows = RecentThings<Window>(limit: 48)
  /// The slots, oldest first.
  private(set) var slots: [Slot] = []
  /// The processors.
  private(set) var processors: [Processor]
  /// The last tables.
  private(set) var tables = RecentThings<Table>(limit: 48)
  /// The last roots.
  private(set) var roots = RecentThings<Table>(limit: 8)
  /// The last entries.
  private(set) var entries = RecentThings<Entry>(limit: 96)
  /// The last linear addresses that something was mapped at.
  private(set) var addresses = RecentThings<UInt64>(limit: 64)

  /// Nothing is known but the number of processors.
  init(processors: Int) {
    self.processors = Array(repeating: Processor(), count: processors)
  }

  /// Takes note of an operation.
  mutating func note(_ operation: Operation) {
    switch operation {
    case .memslot(let change): note(change)
    case .registers(let change):
      guard processors.indices.contains(change.processor) else { return }
      var processor = processors[change.processor]
      processor.cr0 = change.cr0 ?? processor.cr0
      processor.cr3 = change.cr3 ?? processor.cr3
      processor.cr4 = change.cr4 ?? processor.cr4
      processor.efer = change.efer ?? processor.efer
      processors[change.processor] = processor
    case .loadCR3(let processor, let value, _):
      if processors.indices.contains(processor) { processors[processor].cr3 = value }
    case .access(let step):
      if case .virtual(let linear) = step.address { addresses.add(linear.raw & ~0xFFF) }
    case .write(let place, let bytes): note(bytes, at: place.raw)
    default: break
    }
  }

  private mutating func note(_ bytes: GuestBytes, at place: UInt64) {
    // Entries of operations that came from a file: what they are for is not known.
    let shape: PagingShape
    switch bytes.shape {
    case .words64: shape = .fourLevels
    case .words32: shape = .narrow
    case .bytes: return
    }
    let width = Int(shape.entryBytes)
    let word = bytes.bytes.prefix(width).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    if entries.things.contains(where: { $0.place == place }) { return }
    entries.add(Entry(place: place, value: word, depth: 1, shape: shape, linear: 0))
  }

  private mutating func note(_ change: MemslotChange) {
    let old = slots.firstIndex { $0.id == change.id && $0.space == change.space }
    guard change.byteCount > 0 else {
      if let old { slots.remove(at: old) }
      return
    }
    let slot = Slot(
      id: change.id, space: change.space, address: change.address.raw,
      byteCount: change.byteCount, isReadOnly: change.isReadOnly, logsWrites: change.logsWrites,
      backing: change.backing)
    if let old {
      guard slots[old].byteCount == change.byteCount, slot.address < 1 << 52 else { return }
      slots[old] = slot
      return
    }
    // What no slot can be is refused.
    guard slot.address < 1 << 52, slot.byteCount < 1 << 46,
      (slot.address | slot.byteCount) & 0xFFF == 0
    else { return }
    let isTaken = slots.contains { other in
      other.space == slot.space && other.address < slot.address &+ slot.byteCount
        && slot.address < other.address &+ other.byteCount
    }
    if !isTaken { slots.append(slot) }
  }

  /// Takes note of a table.
  mutating func note(_ table: Table) {
    tables.add(table)
    if table.depth == table.shape.depth { roots.add(table) }
  }

  /// Takes note of a window.
  mutating func note(_ window: Window) { windows.add(window) }

  /// Takes note of an entry.
  mutating func note(_ entry: Entry) { entries.add(entry) }

  /// Takes note of a linear address that something is mapped at.
  mutating func noteMapping(at linear: UInt64) { addresses.add(linear) }
}

/// The last of many things.
struct RecentThings<Thing: Sendable>: Sendable {
  /// The things, in no order.
  private(set) var things: [Thing] = []
  private let limit: Int
  private var next = 0

  /// Keeps so many.
  init(limit: Int) {
    self.limit = limit
    things.reserveCapacity(limit)
  }

  /// Keeps one more, in the place of the oldest when there are too many.
  mutating func add(_ thing: Thing) {
    guard things.count >= limit else { return things.append(thing) }
    things[next] = thing
    next = (next + 1) % limit
  }

  /// One of them; `nil` when there is none.
  func pick(_ chance: inout SeededGenerator) -> Thing? {
    things.isEmpty ? nil : chance.pick(things)
  }
}
