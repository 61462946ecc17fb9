import GuestMemory
import HostMemory
import MachineEvents
import PageTables
public import PagingUnits

/// The VMM touching guest memory behind the MMU's back (KVM: `kvm_read_guest`,
/// `kvm_write_guest`).
///
/// Under the operations lock, so that the memslots stay as they are meanwhile.
extension VirtualMachine {
  /// Reads guest-physical bytes; how many could be read from the start.
  public func read(
    into bytes: inout MutableRawSpan, from address: GuestPhysical, in space: AddressSpace = .normal
  ) -> Int {
    operations.lock()
    defer { operations.unlock() }
    var done = 0
    while done < bytes.byteCount {
      guard let (host, length) = place(address, done, bytes.byteCount, .read, space) else { break }
      var part = bytes._mutatingExtracting(done..<done + length)
      tables.interleaver.reach(.beforeGuestBytes)
      guard case .complete = process.read(into: &part, from: host, telling: self) else { break }
      done += length
    }
    return done
  }

  /// Writes guest-physical bytes; how many could be written from the start.
  public func write(
    _ bytes: RawSpan, to address: GuestPhysical, in space: AddressSpace = .normal
  ) -> Int {
    operations.lock()
    defer { operations.unlock() }
    var done = 0
    while done < bytes.byteCount {
      guard let (host, length) = place(address, done, bytes.byteCount, .write, space) else { break }
      let part = bytes.extracting(done..<done + length)
      tables.interleaver.reach(.beforeGuestBytes)
      guard case .complete = process.write(part, to: host, telling: self) else { break }
      done += length
    }
    return done
  }

  /// The host's address of a guest-physical byte and how far the page reaches.
  private func place(
    _ address: GuestPhysical, _ done: Int, _ count: Int, _ access: HostAccess,
    _ space: AddressSpace
  ) -> (HostVirtual, Int)? {
    guard let here = address.advanced(checking: UInt64(done)) else { return nil }
    let slot = slots.slot(containing: here.frame, in: space)
    guard case .address(let page) = slot.hostAddress(of: here.frame, for: access) else {
      return nil
    }
    return (page + here.pageOffset, min(count - done, Int(4096 - here.pageOffset)))
  }
}
