import MachineChecks
import MachineEvents
import PagingUnits

/// A number of 64 bits over operations, results and tracepoints.
///
/// Word by word, where `HistoryDigest` goes byte by byte: it takes in millions of words a second.
public struct FuzzDigest: Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public private(set) var value: UInt64 = 0x243F_6A88_85A3_08D3

  /// The digest of nothing.
  public init() {}

  /// Takes a word in.
  @inline(__always) mutating func add(_ word: UInt64) {
    let mixed = (value ^ word) &* 0x9E37_79B9_7F4A_7C15
    value = mixed ^ mixed >> 32
  }

  @inline(__always) mutating func add(_ number: Int) { add(UInt64(bitPattern: Int64(number))) }

  mutating func add(_ flag: Bool) { add(flag ? 1 : UInt64(0)) }

  mutating func add(_ text: String) {
    for byte in text.utf8 { add(UInt64(byte)) }
    add(text.utf8.count)
  }

  mutating func add(_ bytes: GuestBytes) {
    var word: UInt64 = 0
    for (index, byte) in bytes.bytes.enumerated() {
      word = word << 8 | UInt64(byte)
      if index & 7 == 7 { add(word) }
    }
    add(word)
    add(bytes.bytes.count)
  }

  /// Sixteen hexadecimal digits.
  public var description: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  // MARK: Operations

  mutating func add(_ operation: Operation) {
    switch operation {
    case .memslot(let change):
      add(1)
      add(change)
    case .write(let place, let bytes):
      add(2)
      add(place.raw)
      add(bytes)
    case .read(let place, let shape):
      add(3)
      add(place.raw)
      add(shape.byteCount)
    case .registers(let change):
      add(4)
      add(change)
    case .access(let step):
      add(5)
      add(step)
    case .loadCR3(let processor, let value, let keeps):
      add(6 | processor << 8)
      add(value)
      add(keeps)
    case .invalidatePage(let processor, let address):
      add(7 | processor << 8)
      add(address.raw)
    case .invalidateContext(let processor, let type, let pcid, let address):
      add(8 | processor << 8 | type << 32 | Int(pcid) << 40)
      add(address.raw)
    case .host(let action, let place, let byteCount):
      add(action.rawValue)
      add(place.raw)
      add(byteCount)
    case .zapAll: add(10)
    case .evict(let processor): add(11 | processor << 8)
    case .refuse(let refusal): add(refusal)
    case .counters(let processor): add(13 | processor << 8)
    case .tracepoints: add(14)
    case .tableEntry(let place, let level, let space):
      add(15 | Int(level?.depth ?? 0) << 8 | Int(space.rawValue) << 16)
      add(place.raw)
    case .trim(let count): add(19 | count << 8)
    case .shadowEntry(let processor, let address, let level):
      add(20 | processor << 8 | Int(level?.depth ?? 0) << 16)
      add(address.raw)
    case .subpageEntry(let place, let level, let space):
      add(21 | Int(level?.depth ?? 0) << 8 | Int(space.rawValue) << 16)
      add(place.raw)
    case .subpage(let step): add(step)
    case .processorTLB(let processor, let address):
      add(16 | processor << 8)
      add(address.raw)
    case .check: add(17)
    case .interleave(let interleaving):
      add(18)
      for sequence in interleaving.together {
        add(sequence.count)
        for step in sequence { add(step.operation) }
      }
    }
  }

  private mutating func add(_ step: SubpageStep) {
    add(22 | Int(step.space.rawValue) << 8 | Int(step.flags) << 16)
    add(step.address.raw)
    switch step.request {
    case .enable: add(0)
    case .get(let count): add(1 | count << 8)
    case .set(let words):
      add(2 | words.count << 8)
      for word in words { add(UInt64(word)) }
    }
  }

  private mutating func add(_ change: MemslotChange) {
    add(UInt64(change.id) | UInt64(change.space.rawValue) << 16)
    add(change.address.raw)
    add(change.byteCount)
    add((change.isReadOnly ? 1 : 0) | (change.logsWrites ? 2 : 0))
    add(change.backing.rawValue)
    add(UInt64(change.sharing ?? .max))
    add(change.hostOffset)
  }

  private mutating func add(_ change: RegisterChange) {
    add(change.processor)
    for word in [change.cr0, change.cr2, change.cr3, change.cr4, change.efer, change.pkru] {
      add(word ?? 0x5555)
    }
    add(change.pat ?? 0x5555)
    add(UInt64(change.privilegeLevel ?? 9))
    add(change.alignmentCheck.map { $0 ? 1 : 2 } ?? 0)
    add(UInt64(change.space?.rawValue ?? 9))
  }

  private mutating func add(_ step: AccessStep) {
    var word = UInt64(step.kind.rawValue) | UInt64(step.byteCount) << 8
    word |= UInt64(step.privilegeLevel ?? 9) << 32 | UInt64(step.processor) << 40
    word |= (step.isImplicit ? 1 : 0) << 60 | (step.isEmulated ? 1 : 0) << 61
    if case .physical = step.address { word |= 1 << 62 }
    add(word)
    add(step.address.raw)
    add(step.value ?? 0x5555)
  }

  private mutating func add(_ refusal: Refusal) {
    switch refusal {
    case .never: add(20)
    case .once(let number): add(UInt64(21) | number << 8)
    case .from(let number): add(UInt64(22) | number << 8)
    case .every(let number): add(UInt64(23) | number << 8)
    }
  }

  // MARK: Results

  mutating func add(_ result: StepResult) {
    switch result {
    case .done: add(31)
    case .error(let name), .exception(let name): add(name)
    case .reached(let memory):
      add(memory.guestPhysical.raw)
      add(memory.hostPhysical.raw)
      add(memory.pageBytes)
      add(memory.value)
    case .pageFault(let errorCode, let address):
      add(UInt64(34) | UInt64(errorCode) << 8)
      add(address.raw)
    case .exit(let kind, let place, let value):
      add(kind.rawValue)
      add(place.raw)
      add(value ?? 0x5555)
    case .bytes(let bytes): add(bytes)
    case .young(let isYoung): add(isYoung ? 37 : 38)
    case .counters(let counters):
      for name in counters.keys.sorted() { add(Int(counters[name] ?? 0)) }
    case .tracepoints(let lines): for line in lines { add(line) }
    case .entry(let entry):
      add(entry.raw)
      add(UInt64(entry.level.depth))
    case .kept(let isKept): add(isKept ? 41 : 42)
    case .subpageEntry(let entry):
      add(entry.raw)
      add(UInt64(entry.level.depth))
    case .permissions(let words): for word in words { add(UInt64(word)) }
    case .interleaved(let interleaved):
      for results in interleaved.results { for result in results { add(result) } }
      for line in interleaved.history { add(line) }
    case .violation(let violation):
      add(violation.rule)
      add(violation.found)
    }
  }
}
