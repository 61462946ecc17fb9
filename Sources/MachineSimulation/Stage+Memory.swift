import GuestMemory
import HostMemory
import MachineChecks
import PageTables
import PagingUnits
import VirtualMachine

/// The VMM's half of a stage: slots, guest bytes, and entries looked at.
extension Stage {
  /// Creates, changes, moves or deletes a slot.
  func set(_ change: MemslotChange) -> StepResult {
    var region = MemslotRegion(
      id: MemslotID(change.id), addressSpace: change.space, guestAddress: change.address,
      byteCount: change.byteCount, hostAddress: HostVirtual(0))
    if change.isReadOnly { region.flags.insert(.readOnly) }
    if change.logsWrites { region.flags.insert(.logDirty) }
    let key = SlotBackings.Key(space: change.space, id: change.id)
    let exists = machine.slots.slot(region.id, in: change.space)
    var isNew = false
    if change.byteCount > 0 {
      if let exists, exists.frameCount << 12 == change.byteCount {
        region.hostAddress = exists.hostAddress
      } else {
        switch backing.place(change, in: machine.process) {
        case .at(let address, let made):
          region.hostAddress = address
          isNew = made
        case .refused(let error): return .error(error)
        }
      }
    }
    do throws(MemslotError) {
      try machine.setMemoryRegion(region)
    } catch {
      if isNew { backing.remove(at: region.hostAddress, from: machine) }
      return .error("\(error.errnoName)")
    }
    if change.byteCount == 0 {
      backing.release(key, from: machine)
    } else {
      backing.record(key, at: region.hostAddress)
    }
    return .done
  }

  /// Writes guest memory as the VMM.
  func write(_ bytes: GuestBytes, to address: GuestPhysical) -> StepResult {
    guard address.advanced(checking: UInt64(bytes.bytes.count)) != nil else {
      return .error("EFAULT")
    }
    reference.willStore(bytes.bytes.count, at: address, in: .normal, of: machine)
    // SAFETY: the array outlives the write.
    let done = unsafe machine.write(bytes.bytes.span.bytes, to: address)
    if done > 0 {
      let last = (address + UInt64(done - 1)).frame
      for frame in address.frame.number...last.number { machine.changedUnseen(GuestFrame(frame)) }
    }
    return done == bytes.bytes.count ? .done : .error("EFAULT")
  }

  /// Reads guest memory as the VMM.
  func read(_ shape: GuestBytes.Shape, from address: GuestPhysical) -> StepResult {
    var bytes = [UInt8](repeating: 0, count: shape.byteCount)
    guard address.advanced(checking: UInt64(bytes.count)) != nil else { return .error("EFAULT") }
    var span = bytes.mutableSpan
    // SAFETY: bytes have no padding, and the array outlives the read.
    var raw = unsafe span.mutableBytes
    let done = machine.read(into: &raw, from: address)
    return done == shape.byteCount ? .bytes(GuestBytes(bytes, shape)) : .error("EFAULT")
  }

  /// The entry of ours that covers a frame, at a level or the lowest that there is.
  func entry(at address: GuestPhysical, _ level: Level?, _ space: AddressSpace) -> StepResult {
    guard address.frame < machine.configuration.frameLimit else { return .error("EINVAL") }
    guard var path = path(to: address, in: space) else { return .error("ENOENT") }
    while path.level > level ?? .page4K {
      guard path.stepDown(towards: address.frame) else { break }
    }
    if let level, path.level != level { return .error("ENOENT") }
    let entry = path.entry
    let encoding = machine.tables.encoding
    let isLeaf = entry.isPresentLeaf(at: path.level)
    return .entry(
      EntryView(
        raw: entry.raw, level: path.level, isPresent: entry.isPresent, isLeaf: isLeaf,
        isWritable: entry.isPresent && entry.isWritable, isUser: entry.isPresent,
        isExecutable: entry.isPresent && encoding.isExecutable(entry),
        isAccessed: entry.isPresent && encoding.isAccessed(entry),
        isDirty: entry.isPresent && isLeaf && encoding.isDirty(entry),
        frame: encoding.frame(of: entry),
        isArmed: encoding.isArmed(entry), isParked: encoding.isParked(entry)))
  }

  /// The way through our tables to a guest-physical address, standing at the top; `nil` without a
  /// root, or beyond what one covers.
  func path(to address: GuestPhysical, in space: AddressSpace) -> EntryPath? {
    guard address.frame < machine.configuration.frameLimit, let root = liveRoot(of: space) else {
      return nil
    }
    let row = machine.tables.arena[root]
    return EntryPath(
      in: machine.tables, root: row.frame, level: row.role.level, space: space,
      frame: address.frame)
  }

  private func liveRoot(of space: AddressSpace) -> ShadowPageID? {
    var id = machine.tables.arena.nextActive(after: .none)
    while id != .none {
      let row = machine.tables.arena[id]
      let isTree = !row.role.isSubpageTable && !row.role.isInvalid
      if row.role.space == space && isTree { return id }
      id = machine.tables.arena.nextActive(after: id)
    }
    return nil
  }
}
