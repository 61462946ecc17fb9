/// Why a machine cannot have the encryption bit that its configuration names.
public enum EncryptionBitError: Error, Hashable, Sendable {
  /// Only AMD's processors have it (APM volume 2, "Secure Memory Encryption").
  case vendor
  /// An address has bits 51:0, and below bit 32 lies what every host addresses; bits from 52 on of
  /// an entry are the MMU's own.
  case outside(bit: Int)
  /// The bit would be one of an address: it lies below the host's MAXPHYADDR, which encryption
  /// reduces.
  case insideAddress(bit: Int, physicalBits: Int)
  /// The host's memory reaches as far as the bit.
  case insideMemory(bit: Int, byteCount: UInt64)

  /// What was expected instead, as a sentence's end.
  public var expectation: String {
    switch self {
    case .vendor: "a host of AMD's"
    case .outside: "a bit from 32 to 51"
    case .insideAddress(_, let bits): "a bit from MAXPHYADDR (\(bits)) on"
    case .insideMemory(_, let count): "a bit above the host's \(count) bytes"
    }
  }
}

extension MachineConfiguration {
  /// Checks the encryption bit against the rest of the configuration, and against how much memory
  /// the host has.
  public func checkEncryption(memoryBytes: UInt64 = 0) throws(EncryptionBitError) {
    guard let bit = encryptionBit else { return }
    guard vendor == .amd else { throw .vendor }
    guard 32...51 ~= bit else { throw .outside(bit: bit) }
    guard bit >= physicalBits else {
      throw .insideAddress(bit: bit, physicalBits: physicalBits)
    }
    guard memoryBytes <= 1 << UInt64(bit) else {
      throw .insideMemory(bit: bit, byteCount: memoryBytes)
    }
  }
}
