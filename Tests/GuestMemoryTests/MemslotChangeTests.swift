import GuestMemory
import HostMemory
import PagingUnits
import Testing

@Suite struct MemslotChangeTests {
  @Test("each swap moves the generation by two, and the two address spaces never share one")
  func generations() throws {
    let memory = GuestMemory()
    #expect(memory.generation(of: .normal).raw == 0)
    #expect(memory.generation(of: .systemManagement).raw == 1)
    let steps: [(MemslotRegion, UInt64)] = [
      (MemslotRegion(1, at: 0, 16, host: 16), 2),
      (MemslotRegion(1, at: 0, 16, host: 16), 2),
      (MemslotRegion(1, at: 0, 16, host: 16, flags: .logDirty), 4),
      (MemslotRegion(1, at: 32, 16, host: 16, flags: .logDirty), 8),
      (MemslotRegion(1, at: 64, 16, host: 16), 12),
      (.delete(1), 16),
    ]
    for (region, generation) in steps {
      try memory.change(region)
      #expect(memory.generation(of: .normal) == MemslotGeneration(generation))
    }
    #expect(memory.generation(of: .systemManagement).raw == 1)
    try memory.change(MemslotRegion(1, at: 0, 16, host: 16, in: .systemManagement))
    #expect(memory.generation(of: .systemManagement).raw == 3)
  }

  @Test("with one address space, each swap moves the generation by one")
  func oneSpace() throws {
    var options = GuestMemory.Options()
    options.addressSpaceCount = 1
    let memory = GuestMemory(options: options)
    try memory.change(MemslotRegion(1, at: 0, 16, host: 16))
    #expect(memory.generation(of: .normal).raw == 1)
  }

  @Test("readers see the slot, then its invalid copy, then the change")
  func phases() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 0, 16, host: 16))
    let frame = GuestFrame(3)
    guard var change = try memory.prepare(MemslotRegion(1, at: 32, 16, host: 16)) else {
      Issue.record("a move is a change")
      return
    }
    #expect(change.kind == .move && change.needsInvalidPhase)
    #expect(memory.slot(containing: frame, in: .normal)?.isInvalid == false)
    memory.publishInvalid(&change)
    #expect(memory.generation(of: .normal).raw == UInt64(2) | 1 << 63)
    #expect(memory.generation(of: .normal).isInProgress)
    let shown = memory.slot(containing: frame, in: .normal)
    #expect(shown?.isInvalid == true && shown?.isVisible == false)
    #expect(shown.hostAddress(of: frame, for: .read) == .bad)
    memory.finishSwap(&change)
    #expect(memory.generation(of: .normal).raw == 4)
    #expect(memory.slot(containing: frame, in: .normal)?.isInvalid == true)
    try memory.prepareMetadata(&change)
    memory.publish(&change)
    #expect(memory.generation(of: .normal).raw == UInt64(4) | 1 << 63)
    #expect(memory.slot(containing: frame, in: .normal) == nil)
    #expect(memory.slot(containing: GuestFrame(35), in: .normal)?.isInvalid == false)
    #expect(memory.nextGeneration(of: .normal).raw == 6)
    memory.finishSwap(&change)
    #expect(memory.generation(of: .normal).raw == 6)
  }

  @Test("a change given up at any step leaves the layout as it was")
  func reverts() throws {
    for (region, swaps) in [
      (MemslotRegion(1, at: 32, 16, host: 16), 2), (MemslotRegion.delete(1), 2),
      (MemslotRegion(2, at: 32, 16, host: 16), 0),
      (MemslotRegion(1, at: 0, 16, host: 16, flags: .logDirty), 0),
    ] as [(MemslotRegion, UInt64)] {
      for afterMetadata in [false, true] {
        let memory = GuestMemory()
        try memory.change(MemslotRegion(1, at: 0, 16, host: 16))
        let before = memory.allSlots()
        guard var change = try memory.prepare(region) else { continue }
        if change.needsInvalidPhase {
          memory.publishInvalid(&change)
          memory.finishSwap(&change)
        }
        if afterMetadata { try memory.prepareMetadata(&change) }
        if memory.revert(&change) { memory.finishSwap(&change) }
        #expect(memory.allSlots() == before)
        #expect(memory.generation(of: .normal).raw == 2 + 2 * swaps)
        #expect(memory.metadataCount == 1)
        // Both sets are whole: the next changes go well.
        try memory.change(MemslotRegion(5, at: 500, 5, host: 5))
        try memory.change(.delete(5))
        #expect(memory.allSlots() == before)
      }
    }
  }

  @Test("metadata lives as long as its slot and moves on with it")
  func metadata() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 0, 16, host: 16))
    let first = memory.slot(MemslotID(1), in: .normal)?.metadata
    try memory.change(MemslotRegion(1, at: 0, 16, host: 16, flags: .logDirty))
    #expect(memory.slot(MemslotID(1), in: .normal)?.metadata == first)
    try memory.change(MemslotRegion(1, at: 32, 16, host: 16))
    #expect(memory.slot(MemslotID(1), in: .normal)?.metadata != first)
    #expect(memory.metadataCount == 1)
    try memory.change(.delete(1))
    #expect(memory.metadataCount == 0)
    #expect(memory.metadataByteCount == 0)
  }

  @Test("a slot whose metadata finds no memory is refused, and one that moves stays")
  func noMemory() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 0, 1024, host: 1024))
    let before = memory.allSlots()
    memory.limitMetadata(toBytes: memory.metadataByteCount + 11)
    #expect(memory.refusal(of: MemslotRegion(2, at: 4096, 1024, host: 1024)) == .noMemory)
    #expect(memory.refusal(of: MemslotRegion(1, at: 4096, 1024, host: 1024)) == .noMemory)
    #expect(memory.allSlots() == before)
    #expect(memory.metadataCount == 1)
    memory.limitMetadata(toBytes: memory.metadataByteCount + 12)
    #expect(memory.refusal(of: MemslotRegion(1, at: 4096, 1024, host: 1024)) == nil)
  }

  @Test("a change that was begun and dropped traps")
  func dropped() async {
    await #expect(processExitsWith: .failure) {
      let memory = GuestMemory()
      try memory.change(MemslotRegion(1, at: 0, 16, host: 16))
      guard var change = try memory.prepare(.delete(1)) else { return }
      memory.publishInvalid(&change)
    }
  }

  @Test("a step out of its order traps")
  func order() async {
    await #expect(processExitsWith: .failure) {
      let memory = GuestMemory()
      guard var change = try memory.prepare(MemslotRegion(1, at: 0, 16, host: 16)) else { return }
      memory.publish(&change)
    }
  }
}
