import PagingUnits
import VirtualMachine

/// Decides, by a seed, what happens to a machine next.
///
/// It goes by what it has asked for, never by what came of it: the same seed is the same
/// operations, whatever the machine does.
struct FuzzGenerator: Sendable {
  /// Chance.
  var chance: SeededGenerator
  /// What the run uses.
  let swarm: FuzzSwarm
  /// What is believed of the guest.
  var picture: GuestPicture
  /// Makes guest entries.
  let maker: GuestEntryMaker
  /// The frames in which tables lie, mostly.
  var tableFrames: [UInt64] = []
  /// The slot that has the device.
  private var deviceOwner: UInt32?
  private let totalWeight: UInt64
  private var pending: [Operation] = []
  private var nextPending = 0
  private var usefulSteps = 0

  /// The operations of a seed, on a machine of its choice or on this one.
  init(seed: UInt64, focus: FuzzConfiguration.Focus?, on machine: ScenarioMachine? = nil) {
    var chance = SeededGenerator(seed)
    var swarm = FuzzSwarm(&chance, focus)
    swarm.machine = machine ?? swarm.machine
    self.swarm = swarm
    self.chance = chance
    picture = GuestPicture(processors: swarm.machine.processors)
    maker = GuestEntryMaker(swarm)
    totalWeight = swarm.weights.reduce(0, +)
    begin()
  }

  /// The number of steps that the run should have.
  mutating func chooseLength() -> Int {
    chance.chance(1, in: 4) ? 200 + chance.below(2800) : 200 + chance.below(600)
  }

  /// The next operation.
  mutating func next() -> Operation {
    while nextPending == pending.count {
      pending.removeAll(keepingCapacity: true)
      nextPending = 0
      decide()
    }
    let operation = pending[nextPending]
    nextPending += 1
    return operation
  }

  /// Takes note of an operation that came from elsewhere and is done before everything of its own.
  mutating func follow(_ operation: Operation) {
    if pending.count > nextPending {
      pending.removeAll(keepingCapacity: true)
      nextPending = 0
    }
    picture.note(operation)
    chooseTableFrames()
  }

  /// Queues an operation.
  mutating func queue(_ operation: Operation) {
    let operation = withoutAliases(operation)
    picture.note(operation)
    pending.append(operation)
  }

  /// The operation, with memory of its own for a slot that would show the device's frames a second
  /// time: shadow paging watches a guest's table by its address, and by that alone.
  private mutating func withoutAliases(_ operation: Operation) -> Operation {
    guard swarm.machine.mmu == .shadow, case .memslot(var change) = operation,
      change.backing == .device
    else { return operation }
    let owner = UInt32(change.id) | UInt32(change.space.rawValue) << 16
    if deviceOwner == nil { deviceOwner = owner }
    if deviceOwner != owner { change.backing = .anonymous }
    return .memslot(change)
  }

  // MARK: Deciding

  /// Queues the operations without which nothing else means much: slots, tables, modes.
  private mutating func begin() {
    if swarm.protects { queue(.subpage(SubpageStep(.enable))) }
    for _ in 0..<swarm.firstSlots { createSlot() }
    chooseTableFrames()
    for processor in 0..<swarm.machine.processors {
      if chance.chance(7, in: 8) { switchMode(processor) }
    }
  }

  private mutating func chooseTableFrames() {
    guard tableFrames.isEmpty, let slot = picture.slots.first(where: { !$0.isReadOnly }) else {
      return
    }
    let pages = min(slot.byteCount >> 12, swarm.isCrowded ? 8 : 40)
    tableFrames = (0..<pages).map { slot.address + $0 << 12 }
  }

  private mutating func decide() {
    var left = chance.below(totalWeight)
    for action in FuzzAction.allCases {
      let weight = swarm.weights[action.rawValue]
      if left < weight { return perform(action) }
      left -= weight
    }
  }

  private mutating func perform(_ action: FuzzAction) {
    switch action {
    case .accessVirtual: queue(.access(virtualAccess(processor())))
    case .accessPhysical: queue(.access(physicalAccess(processor())))
    case .writeMemory: writeMemory()
    case .readMemory: queue(.read(GuestPhysical(physical()), .bytes(count: 1 << chance.below(6))))
    case .buildTables:
      let root = buildTables(chance.pick(swarm.shapes))
      if chance.chance(1, in: 2) { use(root, on: processor()) }
    case .extendTables: extendTables()
    case .changeEntry: changeEntry()
    case .changeRegister: queue(registerChange(processor()))
    case .switchMode: switchMode(processor())
    case .loadCR3: queue(pointerLoad(processor()))
    case .invalidatePage: queue(.invalidatePage(processor: processor(), GuestVirtual(linear())))
    case .invalidateContext: queue(contextInvalidation(processor()))
    case .createSlot: createSlot()
    case .deleteSlot: deleteSlot()
    case .moveSlot: moveSlot()
    case .flagSlot: flagSlot()
    case .changeHost: queue(changeHost())
    case .zapAll: queue(.zapAll)
    case .evict: queue(.evict(processor: processor()))
    case .refuse: refuse()
    case .look: look()
    case .interleave: interleave()
    case .protect: protect()
    case .storeToTable: storeToTable()
    case .mapTable: mapTable()
    case .trim: queue(.trim(1 + chance.below(24)))
    }
  }

  private mutating func extendTables() {
    guard let table = picture.tables.pick(&chance) else {
      _ = buildTables(chance.pick(swarm.shapes))
      return
    }
    extendTable(table)
  }

  private mutating func writeMemory() {
    let place = GuestPhysical(physical())
    switch chance.below(3) {
    case 0: queue(.write(place, GuestBytes([UInt8(chance.below(UInt64(256)))], .bytes(count: 1))))
    case 1: queue(.write(GuestPhysical(place.raw & ~7), GuestBytes(words: [chance.next()])))
    default:
      let word = chance.next()
      let bytes = (0..<(2 + chance.below(30))).map { UInt8(truncatingIfNeeded: word >> ($0 & 31)) }
      queue(.write(place, GuestBytes(bytes, .bytes(count: bytes.count))))
    }
  }

  private mutating func refuse() {
    switch chance.below(4) {
    case 0: queue(.refuse(.once(1 + chance.below(UInt64(12)))))
    case 1: queue(.refuse(.every(1 + chance.below(UInt64(12)))))
    case 2: queue(.refuse(.from(1 + chance.below(UInt64(24)))))
    default: break
    }
    // Not for long: a machine without memory does nothing any more.
    for _ in 0..<(1 + chance.below(6)) { queue(.access(virtualAccess(processor()))) }
    if chance.chance(1, in: 2) { queue(changeHost()) }
    queue(.refuse(.never))
  }

  private mutating func look() {
    switch chance.below(4) {
    case 0 where swarm.machine.mmu == .shadow:
      let level: Level? = chance.chance(1, in: 2) ? nil : Level(1 + chance.below(5))
      queue(.shadowEntry(processor: processor(), GuestVirtual(linear()), level))
    case 0:
      let level: Level? = chance.chance(1, in: 2) ? nil : Level(1 + chance.below(5))
      queue(.tableEntry(GuestPhysical(physical()), level, chance.pick(swarm.spaces)))
    case 1: queue(.processorTLB(processor: processor(), GuestVirtual(linear())))
    case 2: queue(.check)
    default: queue(.read(GuestPhysical(physical() & ~7), .words64(count: 1)))
    }
  }

  /// A processor.
  mutating func processor() -> Int {
    swarm.machine.processors == 1 ? 0 : chance.below(swarm.machine.processors)
  }
}
