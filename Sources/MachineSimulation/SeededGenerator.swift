/// Chance by seed: the same seed gives the same numbers on every machine and in every version.
///
/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014): one
/// addition and a mixing function a number, a period of 2^64, and any seed is as good as another.
/// What the standard library makes of random bits may change between its versions, so that choices
/// are made by the functions here.
public struct SeededGenerator: RandomNumberGenerator, Hashable, Sendable {
  private var state: UInt64

  /// The numbers of a seed.
  public init(_ seed: UInt64) { state = seed }

  /// 64 random bits.
  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// A number from 0 up to, not including, `limit`, which is not 0.
  ///
  /// The high half of a product: the bias is at most `limit` in 2^64.
  public mutating func below(_ limit: UInt64) -> UInt64 {
    precondition(limit != 0, "something can be chosen only where there is something")
    return next().multipliedFullWidth(by: limit).high
  }

  /// A number from 0 up to, not including, `limit`, which is positive.
  public mutating func below(_ limit: Int) -> Int {
    precondition(limit > 0, "something can be chosen only where there is something")
    return Int(below(UInt64(limit)))
  }

  /// True `part` times in `whole`.
  public mutating func chance(_ part: UInt64, in whole: UInt64) -> Bool { below(whole) < part }

  /// One of some things.
  public mutating func pick<Choice>(_ choices: [Choice]) -> Choice { choices[below(choices.count)] }

  /// A position, each as often as its weight says; `nil` when no weight is above 0.
  public mutating func pick(weighted weights: [UInt64]) -> Int? {
    let sum = weights.reduce(0, +)
    guard sum > 0 else { return nil }
    var left = below(sum)
    for (index, weight) in weights.enumerated() {
      if left < weight { return index }
      left -= weight
    }
    return nil
  }

  /// A generator of its own, so that how many numbers one part uses does not move another's.
  public mutating func fork() -> SeededGenerator { SeededGenerator(next()) }
}

/// A number of 64 bits that two different histories are most unlikely to share (FNV-1a).
public struct HistoryDigest: Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  /// The digest of nothing.
  public init() {}

  /// Takes a byte in.
  public mutating func add(_ byte: UInt8) {
    value = (value ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
  }

  /// Takes a word in, lowest byte first.
  public mutating func add(_ word: UInt64) {
    for shift in stride(from: 0, to: 64, by: 8) { add(UInt8(truncatingIfNeeded: word >> shift)) }
  }

  /// Sixteen hexadecimal digits.
  public var description: String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
