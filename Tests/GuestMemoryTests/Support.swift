import GuestMemory
import HostMemory
import PagingUnits

/// Chance by seed (SplitMix64).
struct Chance: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

extension MemslotRegion {
  /// A request in frames: the slot `id` at `frame` for `count` frames, from the host's frame `host`
  /// on.
  init(
    _ id: UInt16, at frame: UInt64, _ count: UInt64, host: UInt64,
    flags: MemslotFlags = [], in space: AddressSpace = .normal
  ) {
    self.init(
      id: MemslotID(id), addressSpace: space, flags: flags,
      guestAddress: GuestPhysical(frame << 12), byteCount: count << 12,
      hostAddress: HostVirtual(host << 12))
  }

  /// A request to take a slot away.
  static func delete(_ id: UInt16, in space: AddressSpace = .normal) -> MemslotRegion {
    MemslotRegion(id, at: 0, 0, host: 0, in: space)
  }
}

/// The value, or an error that fails the test; the macro of that kind cannot look into noncopyable
/// values.
func need<Value>(_ value: Value?, line: Int = #line) throws -> Value {
  guard let value else { throw Missing(line: line) }
  return value
}

struct Missing: Error { let line: Int }

extension GuestMemory {
  /// Takes a change through all its steps, with no reader to wait for; what it was, if anything.
  @discardableResult
  func change(_ region: MemslotRegion) throws(MemslotError) -> PreparedMemslotChange.Kind? {
    guard var change = try prepare(region) else { return nil }
    if change.needsInvalidPhase {
      publishInvalid(&change)
      finishSwap(&change)
    }
    do throws(MemslotError) {
      try prepareMetadata(&change)
    } catch {
      if revert(&change) { finishSwap(&change) }
      throw error
    }
    publish(&change)
    finishSwap(&change)
    return change.kind
  }

  /// What a change is refused for, if it is.
  func refusal(of region: MemslotRegion) -> MemslotError? {
    do throws(MemslotError) {
      try change(region)
      return nil
    } catch {
      return error
    }
  }

  /// All slots of an address space, in the order of their frames.
  func allSlots(in space: AddressSpace = .normal) -> [Memslot] {
    var found: [Memslot] = []
    var cursor = slots(in: space)
    while let part = next(&cursor) { found.append(part.slot) }
    return found
  }
}
