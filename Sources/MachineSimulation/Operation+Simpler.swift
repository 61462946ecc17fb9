import PagingUnits

extension Operation {
  /// The same operation with one thing plainer, the plainest first.
  ///
  /// Every way leads towards an end: nothing here is simpler than itself.
  var simpler: [Operation] {
    switch self {
    case .memslot(let change): change.simpler.map { .memslot($0) }
    case .write(let place, let bytes): bytes.simpler.map { .write(place, $0) }
    case .registers(let change): change.simpler.map { .registers($0) }
    case .access(let step): step.simpler.map { .access($0) }
    case .loadCR3(let processor, let value, true):
      [.loadCR3(processor: processor, value: value, keepsTranslations: false)]
    case .host(let action, let place, let byteCount):
      byteCount > 4096 ? [.host(action, place, byteCount: 4096)] : []
    case .interleave(let interleaving): interleaving.simpler
    default: []
    }
  }
}

extension MemslotChange {
  fileprivate var simpler: [MemslotChange] {
    var all: [MemslotChange] = []
    func add(_ isDone: Bool, _ change: (inout MemslotChange) -> Void) {
      if isDone { return }
      var simpler = self
      change(&simpler)
      all.append(simpler)
    }
    add(!isReadOnly) { $0.isReadOnly = false }
    add(!logsWrites) { $0.logsWrites = false }
    add(backing == .anonymous) { $0.backing = .anonymous }
    add(space == .normal) { $0.space = .normal }
    add(sharing == nil) { $0.sharing = nil }
    add(hostOffset == 0) { $0.hostOffset = 0 }
    add(byteCount <= 4096) { $0.byteCount = ($0.byteCount / 2 + 4095) & ~4095 }
    return all
  }
}

extension GuestBytes {
  fileprivate var simpler: [GuestBytes] {
    var all: [GuestBytes] = []
    let width: Int
    let count: Int
    switch shape {
    case .words64(let words): (width, count) = (8, words)
    case .words32(let words): (width, count) = (4, words)
    case .bytes(let bytes): (width, count) = (1, bytes)
    }
    func prefix(_ words: Int) -> GuestBytes {
      let shape: Shape =
        switch shape {
        case .words64: .words64(count: words)
        case .words32: .words32(count: words)
        case .bytes: .bytes(count: words)
        }
      return GuestBytes(Array(bytes.prefix(words * width)), shape)
    }
    if count > 1 {
      all.append(prefix((count + 1) / 2))
      all.append(prefix(count - 1))
    }
    // Bits above the frame, and those that software may use.
    if width == 8 && count == 1 {
      let word = bytes.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      for mask: UInt64 in [1 << 63, 0xF << 59, 0xE00, 0x100, 0x18, 0x60] where word & mask != 0 {
        all.append(GuestBytes(words: [word & ~mask]))
      }
    }
    return all
  }
}

extension RegisterChange {
  fileprivate var simpler: [RegisterChange] {
    var all: [RegisterChange] = []
    func add(_ isDone: Bool, _ change: (inout RegisterChange) -> Void) {
      if isDone { return }
      var simpler = self
      change(&simpler)
      all.append(simpler)
    }
    add(processor == 0) { $0.processor = 0 }
    add(pkru == nil) { $0.pkru = nil }
    add(pat == nil) { $0.pat = nil }
    add(cr2 == nil) { $0.cr2 = nil }
    add(space == nil) { $0.space = nil }
    add(alignmentCheck == nil) { $0.alignmentCheck = nil }
    add(privilegeLevel == nil) { $0.privilegeLevel = nil }
    add(cr4 == nil) { $0.cr4 = nil }
    for bit: UInt64 in [7, 17, 20, 21, 22] where (cr4 ?? 0) >> bit & 1 == 1 {
      add(false) { $0.cr4 = ($0.cr4 ?? 0) & ~(1 << bit) }
    }
    add((efer ?? 0) >> 11 & 1 == 0) { $0.efer = ($0.efer ?? 0) & ~0x800 }
    return all
  }
}

extension AccessStep {
  fileprivate var simpler: [AccessStep] {
    var all: [AccessStep] = []
    func add(_ isDone: Bool, _ change: (inout AccessStep) -> Void) {
      if isDone { return }
      var simpler = self
      change(&simpler)
      all.append(simpler)
    }
    add(processor == 0) { $0.processor = 0 }
    add(!isImplicit) { $0.isImplicit = false }
    add(!isEmulated) { $0.isEmulated = false }
    add(byteCount <= 8) { $0.byteCount = 8 }
    add(byteCount == 1) { $0.byteCount = 1 }
    add(privilegeLevel == nil) { $0.privilegeLevel = nil }
    add(kind == .read) { step in
      step.kind = .read
      step.value = nil
    }
    add(value == nil) { $0.value = nil }
    add(address.raw & 0xFFF == 0) { step in
      switch step.address {
      case .virtual(let place): step.address = .virtual(GuestVirtual(place.raw & ~0xFFF))
      case .physical(let place): step.address = .physical(GuestPhysical(place.raw & ~0xFFF))
      }
    }
    return all
  }
}

extension Interleaving {
  fileprivate var simpler: [Operation] {
    var all: [Operation] = []
    for sequence in together.indices {
      if together.count > 1 {
        var simpler = self
        simpler.together.remove(at: sequence)
        all.append(.interleave(simpler))
      }
      for number in together[sequence].indices {
        var simpler = self
        simpler.together[sequence].remove(at: number)
        all.append(.interleave(simpler))
      }
    }
    return all
  }
}

extension Operation {
  /// Whether every processor that the operation names is one of so many.
  func fits(_ processors: Int) -> Bool {
    guard case .interleave(let interleaving) = self else { return processor ?? 0 < processors }
    return interleaving.together.joined().allSatisfy { $0.operation.fits(processors) }
  }
}

extension Scenario {
  /// Whether the machine has every processor that a step names, as a file needs it.
  var fits: Bool { steps.allSatisfy { $0.operation.fits(machine.processors) } }
}
