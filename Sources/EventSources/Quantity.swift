/// A number as the command line and scenarios have it: decimal or 0x hexadecimal, with an optional
/// binary unit.
public enum Quantity {
  /// What every number on the command line may look like.
  public static let expected =
    "a number below 2^64, decimal or 0x hexadecimal, with KiB, MiB, GiB or TiB if wanted,"

  /// Reads a number from text; `nil` when it is none, or does not fit 64 bits.
  public static func parse(_ text: String) -> UInt64? {
    var copy = text
    return copy.withUTF8 { bytes in
      // SAFETY: the bytes live as long as the call.
      unsafe parse(UnsafeRawBufferPointer(bytes))
    }
  }

  /// Reads a number from bytes; `nil` when there is anything else, or it does not fit 64 bits.
  public static func parse(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    // SAFETY: every index below stays under `count`, which the buffer checks as well.
    let count = bytes.count
    var index = 0
    var value: UInt64 = 0
    if count > 2, unsafe bytes[0] == 0x30, unsafe bytes[1] | 0x20 == 0x78 {
      index = 2
      while index < count, let digit = hexDigit(unsafe bytes[index]) {
        guard value &>> 60 == 0 else { return nil }
        value = value &<< 4 | digit
        index &+= 1
      }
      guard index > 2 else { return nil }
    } else {
      while index < count {
        let digit = unsafe bytes[index] &- 0x30
        guard digit < 10 else { break }
        let (product, overflow) = value.multipliedReportingOverflow(by: 10)
        let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
        guard !overflow && !carry else { return nil }
        value = sum
        index &+= 1
      }
      guard index > 0 else { return nil }
    }
    if index == count { return value }
    // SAFETY: the rest lies in the buffer.
    return unsafe scale(value, by: UnsafeRawBufferPointer(rebasing: bytes[index...]))
  }

  @inline(__always) private static func hexDigit(_ byte: UInt8) -> UInt64? {
    let decimal = byte &- 0x30
    if decimal < 10 { return UInt64(decimal) }
    let letter = (byte | 0x20) &- 0x61
    return letter < 6 ? UInt64(letter &+ 10) : nil
  }

  /// Multiplies `value` by a unit; `nil` when it is no unit or the product does not fit.
  private static func scale(_ value: UInt64, by unit: UnsafeRawBufferPointer) -> UInt64? {
    // SAFETY: the size is checked before the three bytes are read.
    guard unit.count == 3, unsafe unit[1] == 0x69, unsafe unit[2] == 0x42 else {
      return nil
    }
    let shift: UInt64
    switch unsafe unit[0] {
    case 0x4B: shift = 10
    case 0x4D: shift = 20
    case 0x47: shift = 30
    case 0x54: shift = 40
    default: return nil
    }
    return value.leadingZeroBitCount >= shift || value == 0 ? value << shift : nil
  }
}
