import GuestMemory
import HostMemory
import PagingUnits
import Testing

@Suite struct MemslotLookUpTests {
  @Test(
    "look-ups by frame, by number and by host range agree with a naive list",
    arguments: 0..<16 as Range<UInt64>)
  func agreesWithNaive(seed: UInt64) throws {
    var chance = Chance(seed: seed)
    let memory = GuestMemory()
    var naive: [UInt16: Memslot] = [:]
    var hint = SlotHint()
    let span: UInt64 = 2000
    for step in 0..<300 {
      let id = UInt16.random(in: 0..<40, using: &chance)
      let base = UInt64.random(in: 0..<span, using: &chance)
      let count = UInt64.random(in: 1...60, using: &chance)
      let host = UInt64.random(in: 1..<500, using: &chance)
      let flags: MemslotFlags = chance.next() & 1 == 0 ? [] : .logDirty
      var region = MemslotRegion(id, at: base, count, host: host, flags: flags)
      if let old = naive[id] {
        switch Int.random(in: 0..<3, using: &chance) {
        case 0: region = .delete(id)
        default:
          region = MemslotRegion(
            id, at: chance.next() & 1 == 0 ? base : old.baseFrame.number, old.frameCount,
            host: old.hostAddress.raw >> 12, flags: flags)
        }
      }
      let frames = region.guestAddress.frame..<(region.guestAddress.frame + region.byteCount >> 12)
      let overlaps = naive.values.contains { $0.id.number != id && $0.frames.overlaps(frames) }
      let refusal = memory.refusal(of: region)
      #expect((refusal != nil) == (region.byteCount > 0 && overlaps), "seed \(seed) step \(step)")
      if refusal == nil { naive[id] = memory.slot(MemslotID(id), in: .normal) }
      if refusal == nil, region.byteCount > 0 {
        let slot = try #require(naive[id])
        #expect(slot.frames == frames && slot.hostAddress == region.hostAddress)
        #expect(slot.flags == region.flags && !slot.isInvalid)
      }
      #expect(memory.slotCount(in: .normal) == naive.count)

      for _ in 0..<20 {
        let frame = GuestFrame(UInt64.random(in: 0..<(span + 100), using: &chance))
        let expected = naive.values.first { $0.frames.contains(frame) }
        #expect(memory.slot(containing: frame, in: .normal, hint: &hint) == expected)
        #expect(memory.slot(containing: frame, in: .normal) == expected)
      }
      let low = UInt64.random(in: 0..<600 << 12, using: &chance)
      let range =
        HostVirtual(low)..<HostVirtual(low + UInt64.random(in: 0..<100 << 12, using: &chance))
      var found: [MemslotPart] = []
      var cursor = memory.slots(at: range, in: .normal)
      while let part = memory.next(&cursor) { found.append(part) }
      let touched = naive.values.filter { !range.isEmpty && $0.hostRange.overlaps(range) }
      #expect(Set(found.map(\.slot)) == Set(touched) && found.count == touched.count)
      let starts = found.map(\.slot.hostAddress)
      #expect(starts == starts.sorted())
      for part in found {
        let numbers = part.slot.frames.lowerBound.number..<part.slot.frames.upperBound.number
        let frames = numbers.filter { frame in
          let start = part.slot.hostAddress(of: GuestFrame(frame))
          return (start..<(start + 4096)).overlaps(range)
        }
        #expect(frames.first == part.frames.lowerBound.number)
        #expect(frames.count == Int(part.frames.upperBound - part.frames.lowerBound))
      }
      let gfns = GuestFrame(base)..<GuestFrame(base + count)
      var parts: [MemslotPart] = []
      var walk = memory.slots(holding: gfns, in: .normal)
      while let part = memory.next(&walk) { parts.append(part) }
      let held = naive.values.filter { $0.frames.overlaps(gfns) }
        .sorted { $0.baseFrame < $1.baseFrame }
      #expect(parts.map(\.slot) == held)
      #expect(parts.map(\.frames) == held.map { $0.frames.clamped(to: gfns) })
    }
  }

  @Test("as many slots as there are ids are found, whatever the hint")
  func allIDs() throws {
    let memory = GuestMemory()
    let count = UInt64(MemslotID.userCount)
    for id in 0..<count {
      try memory.change(MemslotRegion(UInt16(id), at: id * 4, 3, host: 16 + id * 3))
    }
    #expect(memory.slotCount(in: .normal) == Int(count))
    var hint = SlotHint()
    var chance = Chance(seed: 1)
    for _ in 0..<20_000 {
      let number = chance.next() % (count * 4)
      let slot = memory.slot(containing: GuestFrame(number), in: .normal, hint: &hint)
      if number % 4 == 3 {
        #expect(slot == nil)
      } else {
        #expect(slot?.id.number == UInt16(number / 4))
      }
    }
    #expect(memory.slot(containing: GuestFrame(.max), in: .normal, hint: &hint) == nil)
  }

  @Test("the host address of a frame depends on the slot and on what it is for")
  func hostAddresses() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 100, 8, host: 1000))
    try memory.change(MemslotRegion(2, at: 200, 8, host: 2000, flags: .readOnly))
    func find(_ frame: UInt64, _ access: HostAccess) -> HostAddressLookup {
      memory.slot(containing: GuestFrame(frame), in: .normal)
        .hostAddress(of: GuestFrame(frame), for: access)
    }
    #expect(find(103, .write) == .address(HostVirtual(1003 << 12)))
    #expect(find(203, .read) == .address(HostVirtual(2003 << 12)))
    #expect(find(203, .write) == .readOnlyBad)
    #expect(find(108, .read) == .bad)
    #expect(find(99, .write) == .bad)
    let slot = try need(memory.slot(MemslotID(1), in: .normal))
    #expect(slot.frame(at: HostVirtual(1003 << 12 + 5)) == GuestFrame(103))
  }

  @Test("the two address spaces have slots of their own")
  func spaces() throws {
    let memory = GuestMemory()
    try memory.change(MemslotRegion(1, at: 0, 8, host: 16))
    try memory.change(MemslotRegion(1, at: 4, 8, host: 32, in: .systemManagement))
    #expect(memory.slot(containing: GuestFrame(2), in: .systemManagement) == nil)
    #expect(memory.slot(containing: GuestFrame(10), in: .normal) == nil)
    #expect(memory.slot(MemslotID(1), in: .systemManagement)?.hostAddress.raw == 32 << 12)
  }
}
