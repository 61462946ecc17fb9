/// A named run of bits in a 64-bit word.
public struct Field: Hashable, Sendable {
  /// The number of the lowest bit, 0…63.
  public let low: UInt8
  /// The number of bits, 1…64.
  public let width: UInt8

  /// A field that spans `bits`, as manuals write it (`12...51`); traps outside 0…63.
  public init(_ bits: ClosedRange<Int>) {
    precondition(0 <= bits.lowerBound && bits.upperBound <= 63, "a field lies in bits 0 to 63")
    low = UInt8(bits.lowerBound)
    width = UInt8(bits.count)
  }

  /// A field of one bit.
  public init(bit: Int) { self.init(bit...bit) }

  /// The bits of the field, in place.
  public var mask: UInt64 { (UInt64.max &>> (64 &- UInt64(width))) &<< UInt64(low) }

  /// The field's value in `word`, shifted down.
  public func value(in word: UInt64) -> UInt64 { (word & mask) &>> UInt64(low) }

  /// `word` with the field replaced by `value`; traps when the value does not fit.
  public func setting(_ value: UInt64, in word: UInt64) -> UInt64 {
    precondition(value <= mask &>> UInt64(low), "a value must fit its field")
    return (word & ~mask) | (value &<< UInt64(low))
  }

  /// Whether any bit of the field is set in `word`.
  public func isSet(in word: UInt64) -> Bool { word & mask != 0 }
}
