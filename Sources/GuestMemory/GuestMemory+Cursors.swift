public import PagingUnits

/// A walk over the slots that lie at some addresses of the host process, in the order of their host
/// addresses (KVM: `kvm_for_each_memslot_in_hva_range`).
public struct HostRangeCursor: Sendable {
  let set: Int
  let range: Range<HostVirtual>
  var position: Int
}

/// A slot and those of its frames that a walk is about.
public struct MemslotPart: Hashable, Sendable {
  /// The slot.
  public let slot: Memslot
  /// The frames, all inside the slot, at least one.
  public let frames: Range<GuestFrame>
}

/// A walk over the slots that hold some guest frames, in the order of the frames (KVM:
/// `kvm_for_each_memslot_in_gfn_range`).
public struct FrameRangeCursor: Sendable {
  let set: Int
  let range: Range<GuestFrame>
  var position: Int
}

extension GuestMemory {
  /// A walk over the slots at `range`; it sees the layout of this moment, as long as the caller's
  /// reader section lasts.
  ///
  /// Invalid slots are among them, as in KVM.
  public func slots(at range: Range<HostVirtual>, in space: AddressSpace) -> HostRangeCursor {
    let index = activeIndex(space)
    // SAFETY: the four sets live as long as the memory.
    let position = unsafe set(index).pointee.firstHostPosition(endingAfter: range.lowerBound)
    return HostRangeCursor(set: index, range: range, position: position)
  }

  /// The next slot of the walk, with the frames that a part of the range touches.
  public func next(_ cursor: inout HostRangeCursor) -> MemslotPart? {
    let range = cursor.range
    guard !range.isEmpty else { return nil }
    // SAFETY: the four sets live as long as the memory.
    while let slot = unsafe set(cursor.set).pointee.slot(atHostPosition: cursor.position) {
      let host = slot.hostRange
      if host.lowerBound >= range.upperBound { break }
      cursor.position += 1
      if host.upperBound <= range.lowerBound { continue }
      let start = max(range.lowerBound, host.lowerBound)
      let end = min(range.upperBound, host.upperBound)
      let first = slot.baseFrame + (start - host.lowerBound) >> 12
      let limit = slot.baseFrame + (end - host.lowerBound + 4095) >> 12
      return MemslotPart(slot: slot, frames: first..<limit)
    }
    return nil
  }

  /// A walk over the slots that hold a frame of `range`; all of them for the whole space.
  public func slots(holding range: Range<GuestFrame>, in space: AddressSpace) -> FrameRangeCursor {
    let index = activeIndex(space)
    // SAFETY: the four sets live as long as the memory.
    let position = unsafe set(index).pointee.firstPosition(endingAfter: range.lowerBound)
    return FrameRangeCursor(set: index, range: range, position: position)
  }

  /// A walk over all slots of an address space.
  public func slots(in space: AddressSpace) -> FrameRangeCursor {
    slots(holding: GuestFrame(0)..<GuestFrame(1 << 52), in: space)
  }

  /// The next slot of the walk, with those of its frames that lie in the range.
  public func next(_ cursor: inout FrameRangeCursor) -> MemslotPart? {
    let range = cursor.range
    // SAFETY: the four sets live as long as the memory.
    guard let slot = unsafe set(cursor.set).pointee.slot(atPosition: cursor.position),
      slot.baseFrame < range.upperBound, !range.isEmpty
    else { return nil }
    cursor.position += 1
    return MemslotPart(slot: slot, frames: slot.frames.clamped(to: range))
  }
}
