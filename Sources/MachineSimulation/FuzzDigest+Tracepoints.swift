import MachineEvents
import PagingUnits

/// Tracepoints as numbers: all of one for the digest, its kind for the coverage.
extension FuzzDigest {
  mutating func add(_ event: MachineEvent) {
    add(UInt64(event.coverageKind) | 0x100)
    switch event {
    case .pageFault(let vcpu, let rip, let address, let errorCode):
      add(words: UInt64(vcpu), rip, address, errorCode)
    case .spteRequested(let frame, let host, let level):
      add(words: frame.number, host.number, UInt64(level.depth))
    case .setSPTE(let frame, let spte, let level, let place, let rights):
      add(words: frame.number, spte, UInt64(level.depth), place.raw, UInt64(rights.rawValue))
    case .tdpSPTEChanged(let space, let frame, let level, let old, let new):
      add(words: UInt64(space), frame.number, UInt64(level.depth), old, new)
    case .getPage(let record, let creation):
      add(record)
      add(UInt64(creation.rawValue))
    case .prepareZapPage(let record), .syncPage(let record), .unsyncPage(let record): add(record)
    case .zapAllFast(let generation, let usedPages):
      add(words: UInt64(generation), UInt64(usedPages))
    case .markMMIO(let place, let frame, let access, let generation):
      add(words: place.raw, frame.number, UInt64(access), UInt64(generation))
    case .handleMMIO(let address, let frame, let access):
      add(words: address, frame.number, UInt64(access))
    case .checkMMIO(let spte, let machine, let entry):
      add(words: spte, UInt64(machine), UInt64(entry))
    case .fastPageFault(let vcpu, let address, let errorCode, let place, let old, let new, let end):
      add(words: UInt64(vcpu), address, errorCode, place.raw, old, new, UInt64(end))
    case .splitHugePage(let frame, let spte, let level, let errno):
      add(words: frame.number, spte, UInt64(level.depth), UInt64(bitPattern: Int64(errno)))
    case .pagetableWalk(let address, let errorCode): add(words: address, UInt64(errorCode))
    case .pagingElement(let entry, let depth): add(words: entry, UInt64(depth))
    case .setAccessedBit(let place), .setDirtyBit(let place): add(place.raw)
    case .walkerError(let errorCode): add(UInt64(errorCode))
    case .mmio(let direction, let length, let place, let value):
      add(words: UInt64(direction.rawValue), UInt64(length), place.raw, value)
    case .injectException(let vector, let errorCode):
      add(words: UInt64(vector), UInt64(errorCode ?? 0x5555))
    case .unmapRange(let start, let end), .ageRange(let start, let end):
      add(words: start.raw, end.raw)
    case .testAge(let address): add(address.raw)
    case .exit(let vcpu, let reason, let rip, let info1, let info2):
      add(words: UInt64(vcpu), UInt64(reason.rawValue), rip, info1, info2)
    case .entry(let vcpu, let rip): add(words: UInt64(vcpu), rip)
    case .controlWrite(let register, let value): add(words: UInt64(register), value)
    }
  }

  private mutating func add(_ record: ShadowPageRecord) {
    add(
      words: UInt64(record.generation), record.frame.number, UInt64(record.role),
      UInt64(record.rootCount), record.unsync ? 1 : 0)
  }

  @inline(__always) private mutating func add(
    words first: UInt64, _ second: UInt64, _ third: UInt64 = 0, _ fourth: UInt64 = 0,
    _ fifth: UInt64 = 0, _ sixth: UInt64 = 0, _ seventh: UInt64 = 0
  ) {
    add(first)
    add(second)
    add(third ^ fourth &* 3)
    add(fifth ^ sixth &* 3 ^ seventh &* 5)
  }
}

extension MachineEvent {
  /// What happened, as a number below 256: the tracepoint and, where it says most, its level or
  /// what kind of change it is.
  var coverageKind: UInt8 {
    switch self {
    case .pageFault(_, _, _, let errorCode): 1 << 3 | UInt8(truncatingIfNeeded: errorCode & 7)
    case .spteRequested(_, _, let level): 2 << 3 | level.depth
    case .setSPTE(_, _, let level, _, let rights):
      (rights.contains(.write) ? 3 : 4) << 3 | level.depth
    case .tdpSPTEChanged(_, _, let level, let old, let new):
      (old & 7 == 0 ? new & 7 == 0 ? 5 : 6 : new & 7 == 0 ? 7 : 8) << 3 | level.depth
    case .getPage(_, let creation): 9 << 3 | creation.rawValue
    case .prepareZapPage: 9 << 3 | 2
    case .syncPage: 9 << 3 | 3
    case .unsyncPage: 9 << 3 | 4
    case .zapAllFast: 9 << 3 | 5
    case .splitHugePage: 9 << 3 | 6
    case .markMMIO: 10 << 3
    case .handleMMIO: 10 << 3 | 1
    case .checkMMIO(_, let machine, let entry): 10 << 3 | (machine == entry ? 2 : 3)
    case .mmio(let direction, _, _, _): 11 << 3 | direction.rawValue
    case .fastPageFault(_, _, _, _, _, _, let outcome): 12 << 3 | outcome & 7
    case .pagetableWalk: 13 << 3
    case .pagingElement(_, let depth): 13 << 3 | UInt8(truncatingIfNeeded: 1 + depth & 7 % 6)
    case .setAccessedBit: 14 << 3
    case .setDirtyBit: 14 << 3 | 1
    case .walkerError(let errorCode): 15 << 3 | UInt8(truncatingIfNeeded: errorCode & 7)
    case .injectException: 16 << 3
    case .unmapRange: 16 << 3 | 1
    case .ageRange: 16 << 3 | 2
    case .testAge: 16 << 3 | 3
    case .controlWrite(let register, _): 17 << 3 | register & 7
    case .exit(_, let reason, _, _, _): 18 << 3 | reason.rawValue
    case .entry: 19 << 3
    }
  }
}
