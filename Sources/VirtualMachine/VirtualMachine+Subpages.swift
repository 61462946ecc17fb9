import DirectMMU
import GuestMemory
import HardwareModel
import HostMemory
import Mutations
import PageTables
public import PagingUnits
public import SubpageProtection

/// Sub-page protection, as a VMM sees it (KVM's posted series, version 12: `KVM_CAP_X86_SPP`,
/// `KVM_SUBPAGES_GET_ACCESS`, `KVM_SUBPAGES_SET_ACCESS`).
extension VirtualMachine {
  /// Switches sub-page protection on; again, it does nothing.
  ///
  /// When it returns, every processor enters the guest with the tables of permissions. No page is
  /// protected by it, and maps stay as they are.
  public func enableSubpageProtection() throws(SubpageError) {
    operations.lock()
    defer { operations.unlock() }
    guard try subpages.enable() else { return }
    if Mutation.subpageRootsNotLoaded.isActive { return }
    // SAFETY: the board lives as long as the machine.
    unsafe board.pointee.requestOfAll(.reloadRoots)
  }

  /// Says which sub-pages of consecutive pages the guest may write; how many pages it was said of,
  /// which is all of them.
  ///
  /// When it returns, no processor goes by what was said before. The bytes that the VMM itself
  /// writes are not judged. A slot that is deleted or moved takes what was said of its pages along.
  ///
  /// * `access`: one a page, at most `SubpageProtection.pageLimit`; none does nothing.
  /// * `first`: the first page's frame.
  /// * `space`: whose memslots are meant.
  /// * `flags`: none is known.
  @discardableResult public func setSubpageAccess(
    _ access: [SubpageAccess], from first: GuestFrame, in space: AddressSpace = .normal,
    flags: UInt32 = 0
  ) throws(SubpageError) -> Int {
    operations.lock()
    defer { operations.unlock() }
    try subpages.check(access.count, flags: flags)
    let (count, refusal) = settable(access.count, from: first, in: space)
    tables.lock.lockExclusive()
    var owed = subpages.setAside(first..<(first + UInt64(count)), in: space, tables)
    var done = 0
    while done < count, let part = slotPart(first + UInt64(done), count - done, space) {
      subpages.makeMap(of: part.slot, tables)
      for frame in part.frames.lowerBound.number..<part.frames.upperBound.number {
        subpages.setAccess(access[done], to: GuestFrame(frame), in: part.slot, tables, slots)
        done += 1
      }
      let isFirst = part.frames.lowerBound == first
      if isFirst || !subpages.isOn(.firstSlotOnly) {
        owed.add(followSubpages(part, access, first))
      }
    }
    if Mutation.subpageChangeNotFlushed.isActive {
      owed.settle()
    } else {
      owed.pay(tables.flusher)
    }
    tables.lock.unlockExclusive()
    if let refusal { throw refusal }
    return count
  }

  /// Which sub-pages of consecutive pages the guest may write; every one, where nothing was said.
  public func subpageAccess(
    of frames: Range<GuestFrame>, in space: AddressSpace = .normal, flags: UInt32 = 0
  ) throws(SubpageError) -> [SubpageAccess] {
    operations.lock()
    defer { operations.unlock() }
    let count = Int(clamping: frames.upperBound - frames.lowerBound)
    try subpages.check(count, flags: flags)
    var answer: [SubpageAccess] = []
    for number in frames.lowerBound.number..<frames.upperBound.number {
      let frame = GuestFrame(number)
      let slot = slots.slot(containing: frame, in: space)
      if let refusal = subpages.refusal(of: frame, slot, tables) { throw refusal }
      guard let slot else { continue }
      answer.append(subpages.access(to: frame, in: slot, tables))
    }
    return answer
  }

  /// How many of these pages, from the first on, can have permissions, and why the next cannot.
  private func settable(
    _ count: Int, from first: GuestFrame, in space: AddressSpace
  ) -> (count: Int, refusal: SubpageError?) {
    for index in 0..<count {
      let frame = first + UInt64(index)
      let slot = slots.slot(containing: frame, in: space)
      if let refusal = subpages.refusal(of: frame, slot, tables) { return (index, refusal) }
    }
    return (count, nil)
  }

  /// The slot of a frame with as many of the frames from there on as it holds.
  private func slotPart(
    _ frame: GuestFrame, _ count: Int, _ space: AddressSpace
  ) -> MemslotPart? {
    var cursor = slots.slots(holding: frame..<(frame + UInt64(count)), in: space)
    return slots.next(&cursor)
  }

  private func followSubpages(
    _ part: MemslotPart, _ access: [SubpageAccess], _ first: GuestFrame
  ) -> PendingFlush {
    if Mutation.leavesIgnoreSubpages.isActive { return PendingFlush() }
    guard subpages.isOn(.leavesOutOfStep) else {
      return direct.followSubpages(part.frames, in: part.slot, tables, process.host)
    }
    return direct.followSubpagesOutOfStep(
      access, from: part.frames.lowerBound, in: part.slot, tables, process.host)
  }

  // MARK: Memslots

  /// A slot that goes or moves takes its map along; huge pages were refused by what goes with it.
  func subpagesFollow(
    _ kind: PreparedMemslotChange.Kind, from old: Memslot?, to new: Memslot?
  ) {
    guard kind != .changeFlags else { return }
    tables.lock.lockExclusive()
    defer { tables.lock.unlockExclusive() }
    if kind != .create, let old { subpages.slotWent(old.mapRow, tables) }
    if kind != .delete, let new { subpages.slotCame(new.mapRow, tables) }
  }

  /// What a defect does when a page moves: its permissions are forgotten.
  func openSubpages(of part: MemslotPart) {
    guard tables.subpages.hasMap(part.slot.mapRow) else { return }
    for frame in part.frames.lowerBound.number..<part.frames.upperBound.number {
      tables.subpages[part.slot.mapRow, GuestFrame(frame)] = .all
    }
  }

  // MARK: Stores of the hypervisor

  /// Whether sub-page protection permits a store to a page.
  ///
  /// The caller holds the operations lock, or reads memslots and holds the MMU lock.
  func permitsStore(at address: GuestPhysical, byteCount: UInt64, in space: AddressSpace) -> Bool {
    guard tables.subpages.mapCount > 0,
      let slot = slots.slot(containing: address.frame, in: space)
    else { return true }
    let touched = SubpageAccess.touched(from: address.pageOffset, count: byteCount)
    return tables.subpages[slot.mapRow, address.frame].permits(touched)
  }

  /// What is reported of a store that the hypervisor may not perform; `nil` if it may.
  func emulatedRefusal(
    of translation: Translation, byteCount: UInt64, in space: AddressSpace
  ) -> Translation? {
    let address = translation.guestPhysical
    if Mutation.emulatorIgnoresSubpages.isActive { return nil }
    guard subpages.isOn(.emulatorJudgesPages) else {
      let judged = Mutation.emulatorJudgesFirstByte.isActive ? 1 : byteCount
      return permitsStore(at: address, byteCount: judged, in: space) ? nil : translation
    }
    // The series asks for whole pages, the one behind the last byte's among them where the last
    // byte ends its page, and names the frame where an address is meant.
    let frames = [address.frame, GuestPhysical(address.raw + byteCount).frame]
    for frame in frames {
      let slot = slots.slot(containing: frame, in: space)
      guard let slot, tables.subpages[slot.mapRow, frame].isProtected else { continue }
      var reported = translation
      reported.guestPhysical = GuestPhysical(frame.number)
      return reported
    }
    return nil
  }
}
