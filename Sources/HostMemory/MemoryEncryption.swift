public import PagingUnits

/// How the processors of a host that encrypts its memory reach it: one bit of each physical address
/// says whether the bytes go through the cipher (APM volume 2, "Secure Memory Encryption").
///
/// The cipher itself is not modelled, only that who asks in the wrong form gets nothing of use.
/// Every frame of memory is encrypted that is not a table which the host has taken out
/// (`HostMemory.decrypt`); a device's frames never are.
public struct MemoryEncryption: Sendable {
  /// The bit of an address, as a mask.
  public let mask: UInt64
  private let records: FrameRecords
  private let end: HostFrame

  /// Encryption by the bit `number` of the addresses of a host.
  ///
  /// Traps when memory reaches as far as the bit, which then would mean two things.
  public init(bit number: Int, of host: borrowing HostMemory) {
    precondition(
      32...51 ~= number && host.memory.byteCount <= 1 << UInt64(number),
      "memory ends below the bit that says whether it is encrypted")
    mask = 1 << UInt64(number)
    records = host.records
    end = host.deviceFrames.lowerBound
  }

  /// Whether a frame's bytes are encrypted.
  public func isEncrypted(_ frame: HostFrame) -> Bool {
    frame < end && !records.isDecrypted(frame)
  }

  /// Where an access goes whose address has the bit or lacks it.
  ///
  /// The answer is the address without the bit if that is the form in which the frame's bytes are.
  /// If not, they would be nonsense, and the answer is the address with the bit: no memory is
  /// there, and what is read there is all ones.
  public func place(of address: UInt64) -> UInt64 {
    let plain = address & ~mask
    let isMeant = (address & mask != 0) == isEncrypted(HostPhysical(plain).frame)
    return isMeant ? plain : plain | mask
  }
}

/// Frames in the clear (Linux: `set_memory_decrypted`, `set_memory_encrypted`).
extension HostMemory {
  /// Has a table's frame in the clear from now on; what it held is nonsense after it.
  public func decrypt(_ table: HostFrame) {
    precondition(records.kind(of: table) == .table, "only a table is taken out of encryption")
    guard records.setDecrypted(table) else { return }
    countClear(1)
    memory.fillFrame(table, with: .max)
  }

  /// Has a table's frame encrypted again; what it held is nonsense after it.
  public func encrypt(_ table: HostFrame) {
    guard records.clearDecrypted(table) else { return }
    countClear(-1)
    memory.fillFrame(table, with: .max)
  }
}
