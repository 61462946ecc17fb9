import HostMemory
import Mutations
public import PagingUnits
import Synchronization

extension GuestMemory {
  /// Looks whether a change is permissible, and what kind it is; `nil` when everything is already
  /// as asked (KVM: `__kvm_set_memory_region`, which then returns 0 without a new generation).
  ///
  /// Under the memslot lock. Nothing is changed yet; see `PreparedMemslotChange` for the steps.
  public func prepare(
    _ region: MemslotRegion
  ) throws(MemslotError) -> PreparedMemslotChange? {
    try check(region)
    let space = region.addressSpace
    let old = slot(region.id, in: space)
    if region.byteCount == 0 {
      guard let old else { throw .nothingToDelete }
      return PreparedMemslotChange(kind: .delete, addressSpace: space, old: old, new: nil)
    }
    let base = region.guestAddress.frame
    let frames = base..<(base + region.byteCount >> 12)
    let wanted = Memslot(
      baseFrame: base, frameCount: region.byteCount >> 12, hostAddress: region.hostAddress,
      metadata: old?.metadata ?? MemslotMetadataID(row: .max), flags: region.flags, id: region.id,
      addressSpace: space, isInvalid: false)
    var kind = PreparedMemslotChange.Kind.create
    if let old {
      guard old.hostAddress == wanted.hostAddress, old.frameCount == wanted.frameCount,
        old.isReadOnly == wanted.isReadOnly
      else { throw .immutable }
      if old.baseFrame != base {
        kind = .move
      } else if old.flags != wanted.flags {
        kind = .changeFlags
      } else {
        return nil
      }
    }
    if kind != .changeFlags {
      var cursor = slots(holding: frames, in: space)
      while let part = next(&cursor) {
        let isUnseen = Mutation.overlapUnseen.isActive
        if part.slot.id != region.id && !isUnseen { throw .overlap(part.slot.id) }
      }
    }
    return PreparedMemslotChange(kind: kind, addressSpace: space, old: old, new: wanted)
  }

  /// The checks of the request alone, in KVM's order.
  private func check(_ region: MemslotRegion) throws(MemslotError) {
    if region.origin == .user, region.id.number >= MemslotID.userCount {
      throw .reservedID(region.id)
    }
    // A file of private pages needs a machine with private memory, which this one is not.
    guard region.flags.isSubset(of: [.logDirty, .readOnly]) else { throw .flags(region.flags) }
    guard region.byteCount & 0xFFF == 0 else { throw .size(region.byteCount) }
    guard region.guestAddress.pageOffset == 0 else { throw .guestAddress(region.guestAddress) }
    guard region.hostAddress.pageOffset == 0,
      let hostEnd = region.hostAddress.advanced(checking: region.byteCount),
      hostEnd <= HostAddressSpace.endAddress
    else { throw .hostAddress(region.hostAddress) }
    guard UInt64(region.addressSpace.rawValue) < options.addressSpaceCount else {
      throw .addressSpace(region.addressSpace)
    }
    guard region.id.number < MemslotID.count else { throw .id(region.id) }
    guard region.guestAddress.advanced(checking: region.byteCount) != nil else { throw .wraps }
    let pages = region.byteCount >> 12
    guard pages < 1 << 31 else { throw .tooManyPages(pages) }
  }

  // MARK: The steps

  /// Shows readers the old slot as invalid (KVM: `kvm_invalidate_memslot`); for changes that need
  /// it, before `prepareMetadata`.
  public func publishInvalid(_ change: inout PreparedMemslotChange) {
    guard change.stage == .prepared, change.needsInvalidPhase, var invalid = change.old else {
      preconditionFailure("an invalid phase comes first, in a change that needs one")
    }
    invalid.isInvalid = true
    change.stage = .publishingInvalid
    publish(change.old, invalid, in: change.addressSpace)
  }

  /// Asks for everything that may be refused: the largest frame, and the new slot's metadata (KVM:
  /// `kvm_arch_prepare_memory_region`).
  ///
  /// When it throws, `revert` comes next.
  public func prepareMetadata(_ change: inout PreparedMemslotChange) throws(MemslotError) {
    precondition(
      change.stage == (change.needsInvalidPhase ? .invalid : .prepared),
      "metadata is prepared after the invalid phase and once")
    if change.kind == .create || change.kind == .move, var new = change.new {
      let last = new.baseFrame + (new.frameCount - 1)
      guard last <= options.maximumFrame else { throw .beyondMaximumFrame(last) }
      guard let id = metadata.make(for: new) else { throw .noMemory }
      new.metadata = id
      change.new = new
    }
    change.stage = .ready
  }

  /// Makes the change visible (KVM: `kvm_set_memslot`); cannot fail.
  public func publish(_ change: inout PreparedMemslotChange) {
    precondition(change.stage == .ready, "a change is published when nothing refuses any more")
    change.stage = .publishing
    // The inactive set holds the original, whatever readers see now.
    publish(change.old, change.new, in: change.addressSpace)
  }

  /// Gives a change up before it is published, freeing what was prepared; whether the original had
  /// to be published again, so that readers are waited for and `finishSwap` follows (KVM: the
  /// failure path of `kvm_set_memslot`).
  public func revert(_ change: inout PreparedMemslotChange) -> Bool {
    switch change.stage {
    case .prepared:
      change.stage = .finished
      return false
    case .invalid, .ready:
      if change.stage == .ready, change.kind == .create || change.kind == .move,
        let new = change.new
      {
        metadata.free(new.metadata)
      }
      guard change.needsInvalidPhase else {
        change.stage = .finished
        return false
      }
      change.stage = .reverting
      publish(nil, nil, in: change.addressSpace)
      return true
    default:
      preconditionFailure("a change is given up before it is published")
    }
  }

  /// Prepares the inactive set and swaps, with the generation marked in progress.
  private func publish(_ old: Memslot?, _ new: Memslot?, in space: AddressSpace) {
    let generation = self.generation(of: space).raw
    precondition(generation & MemslotGeneration.inProgress == 0, "one swap is finished at a time")
    let index = inactiveIndex(space)
    // SAFETY: the memslot lock is held and no reader is left in the inactive set: the last swap was
    // finished after waiting for them.
    if old != nil || new != nil { unsafe set(index).pointee.replace(old, with: new) }
    unsafe set(index).pointee.generation.store(
      generation | MemslotGeneration.inProgress, ordering: .relaxed)
    swapSets(space)
  }

  /// The generation that `finishSwap` is about to give; what hangs on generations is told first
  /// (KVM: `kvm_arch_memslots_updated`).
  public func nextGeneration(of space: AddressSpace) -> MemslotGeneration {
    let raw = generation(of: space).raw & ~MemslotGeneration.inProgress
    let isStuck = Mutation.generationNotAdvanced.isActive
    return MemslotGeneration(raw + (isStuck ? 0 : options.addressSpaceCount))
  }

  /// Ends a publication after its readers were waited for: the generation moves on, the inactive
  /// set becomes like the active one, and what nobody uses any more is freed.
  public func finishSwap(_ change: inout PreparedMemslotChange) {
    let space = change.addressSpace
    precondition(generation(of: space).isInProgress, "a swap is finished after a publication")
    let next = nextGeneration(of: space).raw
    // SAFETY: the four sets live as long as the memory.
    unsafe set(activeIndex(space)).pointee.generation.store(next, ordering: .releasing)
    let inactive = inactiveIndex(space)
    switch change.stage {
    case .publishingInvalid:
      // The inactive set keeps the original, for the step to come.
      change.stage = .invalid
    case .publishing:
      var shown = change.old
      if change.needsInvalidPhase { shown?.isInvalid = true }
      // SAFETY: readers of the set that was active were waited for.
      if !Mutation.inactiveSetLeftBehind.isActive {
        unsafe set(inactive).pointee.replace(shown, with: change.new)
      }
      if change.kind == .delete || change.kind == .move, let old = change.old {
        metadata.free(old.metadata)
      }
      change.stage = .finished
    case .reverting:
      // SAFETY: as above.
      unsafe set(inactive).pointee.replace(change.old, with: change.old)
      change.stage = .finished
    case .prepared, .invalid, .ready, .finished:
      preconditionFailure("a swap is finished after a publication")
    }
  }
}
