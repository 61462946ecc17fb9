import GuestProcessor
import HardwareModel
import HostMemory
import MachineChecks
import MachineEvents
import PageTables
import PagingUnits
import VirtualMachine
import X86Paging

/// Stores to pages with protected bytes, judged one by one.
///
/// The engine asks for whole pages and knows no sub-pages. So a page with protected bytes is given
/// to it as writable, or for one instruction where a refusal has to stop it, and each store that it
/// announces makes the trip of a processor that has sub-page write permissions.
extension MachinePort {
  /// Answers for a page with protected bytes; `nil` for any other.
  func watchedPage(_ request: FillRequest) -> FillAnswer? {
    guard request.kind == .write else { return nil }
    // The guest's own tables decide first, and mark; the host's page is made writable.
    let outcome = machine.emulatedAccess(0, request.address, .write, request.privilege)
    let place: Translation
    switch outcome {
    case .translated(let translation), .subpageRefused(let translation): place = translation
    default: return nil
    }
    guard protection.isWatched(place.guestPhysical.raw & ~0xFFF) else { return nil }
    let frame = place.hostPhysical.frame
    watchedPages[frame] = GuestVirtual(request.address.raw & ~0xFFF)
    return protection.action == .stop ? .filledOnce(frame) : .filled(frame, [.read, .write])
  }

  /// Judges a store that is about to happen; what of it goes to the next page is judged there.
  func judgeStore(_ store: GuestStore) {
    let frame = store.place.frame
    let offset = store.place.raw & 0xFFF
    let room = Int(4096 - offset)
    let bytes = store.bytes
    if let page = watchedPages[frame] {
      judge(Array(bytes.prefix(room)), at: page + offset, store.privilege)
    }
    guard bytes.count > room, let page = watchedPages[frame] ?? writtenPages[frame] else { return }
    let next = page + 4096
    let walk = machine.translate(0, next, .write, store.privilege)
    guard case .mapped(let mapping) = walk.outcome,
      protection.isWatched(mapping.address.raw & ~0xFFF)
    else { return }
    judge(Array(bytes.dropFirst(room)), at: next, store.privilege)
  }

  private func judge(_ new: [UInt8], at address: GuestVirtual, _ privilege: Privilege) {
    machine.setInstructionPointer(rip, of: 0)
    let before = (machine.statistic(.exits, of: 0), machine.statistic(.pf_fixed, of: 0))
    let verdict = reference?.expect(
      ReferenceAccess(.virtual(address), .write, privilege, byteCount: new.count), in: machine)
    let outcome = machine.access(0, address, .write, privilege, byteCount: UInt64(new.count))
    if let verdict, let violation = reference?.judge(outcome, of: verdict, in: machine) {
      return end(.violation(violation.description))
    }
    let exits = machine.statistic(.exits, of: 0) - before.0
    let mapping = machine.statistic(.pf_fixed, of: 0) - before.1
    switch outcome {
    case .translated(let place):
      guard protection.isWatched(place.guestPhysical.raw & ~0xFFF) else { return }
      protection.permitted(exits: exits, mapping: mapping)
    case .subpageRefused(let place):
      let stops =
        protection.action == .stop && protection.isHit(place.guestPhysical.raw, new.count)
      // A store over two pages is announced again once the second one is there.
      if stops && takenBack.contains(where: { $0.0 == place.hostPhysical }) { return }
      let write = RefusedWrite(
        instruction: rip, address: place.guestPhysical.raw, linear: address.raw,
        old: bytes(new.count, at: place.hostPhysical), new: stops ? [] : new)
      protection.refused(write, exits: exits, mapping: mapping)
      if stops { takenBack.append((place.hostPhysical, write.old)) }
    default:
      end(.hostFailure("a store to \(hex(address.raw)) came to \(outcome)"))
    }
  }

  /// Puts back what the instruction under way stored to protected bytes; `false` if it stored none.
  func takeBack() -> Bool {
    guard !takenBack.isEmpty else { return false }
    for (place, old) in takenBack.reversed() {
      for (index, byte) in old.enumerated() { setByte(byte, at: place + UInt64(index)) }
    }
    takenBack = []
    end(.protectedWrite)
    return true
  }

  private func bytes(_ count: Int, at place: HostPhysical) -> [UInt8] {
    (0..<UInt64(count)).map { index in
      let byte = place + index
      let word = machine.tables.memory.entryOrOnes(at: HostPhysical(byte.raw & ~7))
      return UInt8(truncatingIfNeeded: word >> (8 * (byte.raw & 7)))
    }
  }

  private func setByte(_ byte: UInt8, at place: HostPhysical) {
    let word = HostPhysical(place.raw & ~7)
    let shift = 8 * (place.raw & 7)
    let memory = machine.tables.memory
    memory.setEntry(memory.entry(at: word) & ~(0xFF << shift) | UInt64(byte) << shift, at: word)
  }
}
