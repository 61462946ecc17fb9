import HardwareModel
import HostMemory
import PagingUnits

/// A world with sub-page write permissions: a page that may be read and executed, and written as
/// far as its vector says.
///
/// MAXPHYADDR is 46, the control is 1, EPT has no accessed and dirty bits, guest-physical 0x5000 is
/// mapped R-X with bit 61, upper entries grant everything, and the tables down to its vector are
/// valid. With paging, linear addresses up to 2 MiB are the guest-physical ones.
final class SubpageWorld {
  let world: World
  var controls: SubpageControls
  /// The processor; one that keeps nothing, unless said otherwise.
  var features: ProcessorFeatures
  private var processor: Processor

  /// Whether linear addresses go through tables of the guest's.
  enum Paging: CaseIterable { case off, on }

  static let page: UInt64 = 0x5000
  static let guarded: UInt64 = 1 << 61 | 0x35

  init(
    _ paging: Paging = .on, _ second: World.Second = .ept4,
    _ change: (inout ProcessorFeatures) -> Void = { _ in }
  ) throws {
    world = try World(paging == .on ? .fourLevel : .off, second)
    world.usesSecondMarks = false
    features = world.features(change)
    processor = Processor(memory: world.memory, features: features)
    controls = SubpageControls(pointer: world.hostFrame())
    map(Self.page, Self.guarded)
    for page in 0..<16 as Range<UInt64> where paging == .on {
      world[page << 12, 1] = page << 12 | 0x67
    }
    vector = 0
  }

  /// Maps a page of the guest's with these bits.
  func map(_ guest: UInt64, _ bits: UInt64) {
    world[second: guest, 1] = guest + world.delta | bits
  }

  // MARK: The sub-page-permission tables

  /// The place of an entry; tables are made on the way.
  func place(_ guest: UInt64, _ depth: Int) -> HostPhysical {
    var table = controls.pointer
    var at = 4
    while at > depth {
      let place = HostPhysical(table + (guest >> (12 + 9 * UInt64(at - 1)) & 511) * 8)
      if world.memory.entry(at: place) == 0 {
        world.memory.setEntry(world.hostFrame() | 1, at: place)
      }
      table = world.memory.entry(at: place) & 0x000F_FFFF_FFFF_F000
      at -= 1
    }
    return HostPhysical(table + (guest >> (12 + 9 * UInt64(depth - 1)) & 511) * 8)
  }

  /// Reads or writes an entry.
  subscript(guest: UInt64, depth: Int) -> UInt64 {
    get { world.memory.entry(at: place(guest, depth)) }
    set { world.memory.setEntry(newValue, at: place(guest, depth)) }
  }

  /// The vector of the page at 0x5000.
  var vector: UInt64 {
    get { self[Self.page, 1] }
    set { self[Self.page, 1] = newValue }
  }

  // MARK: Accesses

  /// One access to bytes of one page.
  func access(_ linear: UInt64, _ kind: AccessKind, _ byteCount: UInt64 = 1) -> HardwareOutcome {
    processor.subpageControls = controls
    return processor.translate(
      GuestVirtual(linear), kind, .supervisor, world.registers, through: world.dimension,
      byteCount: byteCount)
  }

  /// Makes the processor forget.
  func invalidate(_ what: Invalidation) { processor.invalidate(what, world.registers) }

  var counters: HardwareCounters { processor.counters }

  var modificationLog: ModificationLog? {
    get { processor.modificationLog }
    set { processor.modificationLog = newValue }
  }

  var instruction: InstructionContext {
    get { processor.instruction }
    set { processor.instruction = newValue }
  }

  /// A store of one write, which may cross into the next page: what stops it, or nothing, and then
  /// it has been performed.
  func store(_ linear: UInt64, _ byteCount: UInt64 = 1, value: UInt8 = 0xA5) -> HardwareOutcome? {
    var places: [HostPhysical] = []
    var done: UInt64 = 0
    while done < byteCount {
      let count = min(byteCount - done, 4096 - (linear + done) & 0xFFF)
      let outcome = access(linear + done, .write, count)
      guard let place = outcome.translation?.hostPhysical else { return outcome }
      for index in 0..<count { places.append(place + index) }
      done += count
    }
    for place in places { setByte(value, place) }
    return nil
  }

  private func setByte(_ byte: UInt8, _ place: HostPhysical) {
    let word = HostPhysical(place.raw & ~7)
    let shift = 8 * (place.raw & 7)
    let old = world.memory.entry(at: word)
    world.memory.setEntry(old & ~(0xFF << shift) | UInt64(byte) << shift, at: word)
  }

  /// The byte at a guest-physical address.
  func byte(_ guest: UInt64) -> UInt8 {
    let place = world.host(of: guest).raw
    let word = world.memory.entry(at: HostPhysical(place & ~7))
    return UInt8(truncatingIfNeeded: word >> (8 * (place & 7)))
  }
}

extension HardwareOutcome {
  /// The qualification of an SPP-related event, if it is one.
  var subpageQualification: UInt64? {
    if case .exit(.subpageEvent(let qualification, _, _)) = self { qualification } else { nil }
  }
}
