public import HostMemory

/// What a host has in use, so that a later look tells whether a machine that has ended left
/// anything behind.
///
/// The caller takes a share of the host before the machine is made, and keeps it beyond.
public struct MachineRemains: Sendable {
  /// The rule as a sentence.
  public static let rule = "a machine that ends gives every frame back"
  private let before: [UInt64]
  private let clearBefore: Int

  /// Remembers what a host has in use before the machine is made.
  public init(_ host: borrowing HostMemory) {
    before = Self.accounts(of: host)
    clearBefore = host.clearFrames
  }

  /// Compares after the machine has ended; the first violation, if any.
  ///
  /// Damaged frames stay out of use for ever.
  public func violation(in host: borrowing HostMemory) -> Violation? {
    let after = Self.accounts(of: host)
    for (index, kind) in Self.kinds.enumerated() where before[index] != after[index] {
      return Violation(
        Self.rule, found: "\(after[index]) frames are \(kind), \(before[index]) were before")
    }
    return host.clearFrames == clearBefore
      ? nil : Violation(Self.rule, found: "\(host.clearFrames) tables were left in the clear")
  }

  private static let kinds: [FrameKind] = [
    .table, .hostTable, .anonymous, .file, .swapped, .zero, .device,
  ]

  private static func accounts(of host: borrowing HostMemory) -> [UInt64] {
    var accounts: [UInt64] = []
    for kind in kinds { accounts.append(host.frames(kind)) }
    return accounts
  }
}
