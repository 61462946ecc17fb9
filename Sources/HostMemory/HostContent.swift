public import PagingUnits

/// Where the bytes of a page of the host process lie now.
public enum HostContent: Hashable, Sendable {
  /// In this frame, in use or in the swap area; a device's may lie outside memory.
  case frame(HostFrame)
  /// Nowhere: they are zeros.
  case zeros
  /// In the file, from this offset on, not yet read.
  case file(HostFile, offset: UInt64)
  /// Lost: their frame is damaged.
  case damaged
  /// No page can be there: no region, or behind the end of the file.
  case nothing
}

/// Looking without touching, for those who check a machine.
extension HostAddressSpace {
  /// Where the bytes of the 4 KiB page at `address` lie, whatever its protection says.
  ///
  /// Nothing is faulted in and no mark is set.
  public func content(at address: HostVirtual) -> HostContent {
    lock()
    defer { unlock() }
    return contentLocked(at: address)
  }

  /// The 8-byte word that holds `address`; `nil` where no bytes are.
  ///
  /// Nothing is faulted in and no mark is set.
  public func word(at address: HostVirtual) -> UInt64? {
    lock()
    defer { unlock() }
    return word(contentLocked(at: address), at: address)
  }

  /// Where the bytes of the forked copy's page at `address` lie; `nothing` for what it has no share
  /// of.
  public func contentOfCopy(at address: HostVirtual) -> HostContent {
    lock()
    defer { unlock() }
    return contentOfCopyLocked(at: address)
  }

  /// The forked copy's 8-byte word that holds `address`; `nil` for what it has no share of.
  public func wordOfCopy(at address: HostVirtual) -> UInt64? {
    lock()
    defer { unlock() }
    return word(contentOfCopyLocked(at: address), at: address)
  }

  private func contentLocked(at address: HostVirtual) -> HostContent {
    guard let region = regionLocked(containing: address) else { return .nothing }
    if let content = content(of: walk(root, address), at: address) { return content }
    let distance = address.pageStart - region.range.lowerBound
    switch region.backing {
    case .anonymous, .hugePages: return .zeros
    case .device(let first): return .frame(first + distance >> 12)
    case .file(let id, let offset, _):
      let open = openFile(id)
      let position = offset + distance
      guard position < open.file.byteCount else { return .nothing }
      let cached = walk(open.root, HostVirtual(position))
      return cached.entry.isPresent
        ? .frame(cached.entry.frame) : .file(open.file, offset: position)
    }
  }

  private func contentOfCopyLocked(at address: HostVirtual) -> HostContent {
    // SAFETY: the lock is held.
    guard address < Self.endAddress, let copyRoot = unsafe state.pointee.copyRoot else {
      return .nothing
    }
    return content(of: walk(copyRoot, address), at: address) ?? .nothing
  }

  /// What an entry says of its page's bytes; `nil` when it has no page.
  private func content(of stop: HostStop, at address: HostVirtual) -> HostContent? {
    if stop.entry.isPoisoned { return .damaged }
    if stop.entry.isSwapped { return .frame(stop.entry.frame) }
    guard stop.holdsPage else { return nil }
    if !stop.entry.isCounted, stop.entry.frame == host.zeroFrame { return .zeros }
    return .frame(stop.entry.frame + address.offset(in: stop.level) >> 12)
  }

  private func word(_ content: HostContent, at address: HostVirtual) -> UInt64? {
    let offset = address.pageOffset & ~7
    switch content {
    case .frame(let frame):
      return host.memory.contains(frame) ? host.memory.entry(at: frame.address + offset) : nil
    case .zeros: return 0
    case .file(let file, let position): return file.word((position + offset) >> 3)
    case .damaged, .nothing: return nil
    }
  }
}
