import GuestMemory
import HostMemory
import PagingUnits
import ShadowMMU
import VirtualMachine

/// The host's half of a stage.
extension Stage {
  /// Does something to the pages behind a guest-physical range, slot by slot.
  ///
  /// The result is `ok` when anything was done; otherwise why nothing was.
  func perform(
    _ action: HostAction, at address: GuestPhysical, _ byteCount: UInt64
  ) -> StepResult {
    let parts = hostRanges(behind: address, byteCount)
    switch action {
    case .age: return .young(parts.reduce(false) { machine.clearFlushYoung($1) || $0 })
    case .testAge:
      return .young(parts.contains { part in pages(part).contains { machine.testYoung($0) } })
    default: break
    }
    guard !parts.isEmpty else { return .error("ENOENT") }
    var total = Total()
    for part in parts { perform(action, part, &total) }
    if settings.mmu == .shadow && (action == .unmap || action == .poison) {
      forgetContents(at: address, byteCount)
    }
    return total.result
  }

  /// Says that the contents of pages are lost: tables of the guest's that lay there are none any
  /// more, as only the VMM knows.
  private func forgetContents(at address: GuestPhysical, _ byteCount: UInt64) {
    let last = address.advanced(checking: max(byteCount, 1) - 1) ?? GuestPhysical(.max)
    for space in AddressSpace.allCases {
      var cursor = machine.slots.slots(holding: address.frame..<(last.frame + 1), in: space)
      while let part = machine.slots.next(&cursor) {
        var frame = part.frames.lowerBound
        while frame < part.frames.upperBound {
          machine.changedUnseen(frame, sparing: .nothing)
          frame = frame + 1
        }
      }
    }
  }

  /// What came of a change of several pages.
  private struct Total {
    var isDone = false
    var problem = HostChangeOutcome.nothingThere

    mutating func add(_ outcome: HostChangeOutcome) {
      if outcome == .done { isDone = true } else { problem = outcome }
    }

    var result: StepResult {
      if problem == .outOfFrames { return .error("ENOMEM") }
      if isDone { return .done }
      return .error(problem == .nothingThere ? "ENOENT" : "EINVAL")
    }
  }

  private func perform(_ action: HostAction, _ part: Range<HostVirtual>, _ total: inout Total) {
    switch action {
    case .age, .testAge: break
    case .unmap: total.add(machine.unmapHost(part))
    case .protectNone: protect(part, .none, &total)
    case .protectReadOnly: protect(part, .readOnly, &total)
    case .protectReadWrite: protect(part, .readWrite, &total)
    case .migrate: for page in mappedPages(part) { total.add(machine.migrateHost(page)) }
    case .split: for page in mappedPages(part) { total.add(machine.splitHost(page)) }
    case .collapse: collapse(part, &total)
    case .swapOut: total.add(machine.swapOutHost(part))
    case .swapIn: total.add(machine.swapInHost(part))
    case .writeProtect: total.add(machine.writeProtectHost(part))
    case .copyOnWrite: total.add(machine.shareHost(part))
    case .merge: total.add(machine.mergeHost(part))
    case .poison: for page in pages(part) { total.add(machine.poisonHost(page)) }
    }
  }

  private func protect(
    _ part: Range<HostVirtual>, _ protection: HostProtection, _ total: inout Total
  ) {
    do throws(HostRegionError) {
      try machine.protectHost(part, as: protection)
      total.add(.done)
    } catch {
      total.add(.outOfFrames)
    }
  }

  private func collapse(_ part: Range<HostVirtual>, _ total: inout Total) {
    let level: Level =
      part.upperBound - part.lowerBound >= Level.page1G.byteCount
      ? .page1G : .page2M
    var address = part.lowerBound.aligned(to: level)
    while address < part.upperBound {
      total.add(machine.collapseHost(address, to: level))
      address = address + level.byteCount
    }
  }

  /// The parts of the host process's addresses that lie behind a guest-physical range.
  private func hostRanges(
    behind address: GuestPhysical, _ byteCount: UInt64
  ) -> [Range<HostVirtual>] {
    let last = address.advanced(checking: max(byteCount, 1) - 1) ?? GuestPhysical(.max)
    let frames = address.frame..<(last.frame + 1)
    var parts: [Range<HostVirtual>] = []
    for space in AddressSpace.allCases {
      var cursor = machine.slots.slots(holding: frames, in: space)
      while let part = machine.slots.next(&cursor) {
        let start = part.slot.hostAddress(of: part.frames.lowerBound)
        let count = (part.frames.upperBound - part.frames.lowerBound) << 12
        let range = start..<(start + count)
        if !parts.contains(range) { parts.append(range) }
      }
    }
    return parts
  }

  /// The starts of all 4 KiB pages of a range, at most 2^18 of them.
  private func pages(_ part: Range<HostVirtual>) -> [HostVirtual] {
    let count = min((part.upperBound - part.lowerBound) >> 12, 1 << 18)
    return (0..<count).map { part.lowerBound + $0 << 12 }
  }

  /// The starts of the pages of a range that the host process has, large ones once.
  private func mappedPages(_ part: Range<HostVirtual>) -> [HostVirtual] {
    var starts: [HostVirtual] = []
    var address = part.lowerBound
    while address < part.upperBound && starts.count < 1 << 18 {
      let isMapped = machine.process.lookUpMapped(address, for: .read) != nil
      let level = isMapped ? machine.process.mappingLevel(at: address) : .page4K
      if isMapped { starts.append(address) }
      address = address.aligned(to: level) + level.byteCount
    }
    return starts
  }
}
