public import PagingUnits

/// How far a copy between the host process's memory and a buffer came.
public enum HostCopyOutcome: Hashable, Sendable {
  /// All bytes were copied.
  case complete
  /// The copy stopped at a page that could not be had; the bytes before it were copied.
  case stopped(after: Int, HostLookup)
}

extension HostAddressSpace {
  /// Reads the process's memory into `bytes` (KVM: `copy_from_user`).
  public func read<Notifier: HostNotifier & ~Copyable>(
    into bytes: inout MutableRawSpan, from address: HostVirtual,
    telling notifier: borrowing Notifier
  ) -> HostCopyOutcome {
    let count = bytes.byteCount
    var done = 0
    while done < count {
      guard let place = address.advanced(checking: UInt64(done)) else {
        return .stopped(after: done, .badAddress)
      }
      let length = min(count - done, Int(4096 - place.pageOffset))
      let answer = lookUp(place, for: .read, telling: notifier)
      guard case .page(let page) = answer else { return .stopped(after: done, answer) }
      // A device outside memory has no bytes here.
      guard host.memory.contains(page.frame) else { return .stopped(after: done, .badAddress) }
      var part = bytes._mutatingExtracting(done..<(done + length))
      // The page may have gone since; then it is looked up again.
      if copyOut(&part, from: place) { done += length }
    }
    return .complete
  }

  /// Writes `bytes` to the process's memory (KVM: `copy_to_user`); pages written are marked dirty.
  public func write<Notifier: HostNotifier & ~Copyable>(
    _ bytes: RawSpan, to address: HostVirtual, telling notifier: borrowing Notifier
  ) -> HostCopyOutcome {
    let count = bytes.byteCount
    var done = 0
    while done < count {
      guard let place = address.advanced(checking: UInt64(done)) else {
        return .stopped(after: done, .badAddress)
      }
      let length = min(count - done, Int(4096 - place.pageOffset))
      let answer = lookUp(place, for: .write, telling: notifier)
      guard case .page(let page) = answer else { return .stopped(after: done, answer) }
      // A device outside memory has no bytes here.
      guard host.memory.contains(page.frame) else { return .stopped(after: done, .badAddress) }
      if copyIn(bytes.extracting(done..<(done + length)), to: place) { done += length }
    }
    return .complete
  }

  /// Does something with the byte at `address` while its page cannot move; `nil` when the mapping
  /// there does not permit the access now, or a write would go to a device outside memory.
  ///
  /// `body` is short and takes no lock; for a read, the place may lie outside memory. A page looked
  /// up for a write is marked dirty.
  public func withPage<Result>(
    at address: HostVirtual, for access: HostAccess, _ body: (HostPhysical) -> Result
  ) -> Result? {
    lock()
    defer { unlock() }
    guard let page = lookUpMapped(address, for: access),
      access == .read || host.memory.contains(page.frame)
    else { return nil }
    if access == .write && page.content == .memory { host.records.markDirty(page.frame) }
    return body(page.frame.address + address.pageOffset)
  }

  // The bytes are copied with the lock held, so that the page cannot move underneath.

  private func copyOut(_ bytes: inout MutableRawSpan, from place: HostVirtual) -> Bool {
    lock()
    defer { unlock() }
    guard let page = lookUpMapped(place, for: .read) else { return false }
    host.memory.read(into: &bytes, from: page.frame.address + place.pageOffset)
    return true
  }

  private func copyIn(_ bytes: RawSpan, to place: HostVirtual) -> Bool {
    lock()
    defer { unlock() }
    guard let page = lookUpMapped(place, for: .write) else { return false }
    host.memory.write(bytes, to: page.frame.address + place.pageOffset)
    if page.content == .memory { host.records.markDirty(page.frame) }
    return true
  }
}
