import PagingUnits
import SubpageProtection
import VirtualMachine

/// Memory that the guest may not write, watched by sub-page write permissions: what was written
/// there, and what beside it.
///
/// The processor refuses by 128 bytes. A write that is refused for that alone, and touches none of
/// the protected bytes, is counted and not reported.
public struct MemoryProtection: Sendable {
  /// What a write to protected memory does.
  public enum Action: Hashable, Sendable {
    /// It is reported and let through.
    case report
    /// It ends the run, and is not made.
    case stop
  }

  /// The most writes that are kept with their bytes.
  public static let reportLimit = 10_000

  /// The protected bytes, by guest-physical address.
  public private(set) var ranges: [Range<UInt64>] = []
  /// What a write to them does.
  public private(set) var action = Action.report
  /// The writes to protected bytes, the first ones.
  public private(set) var refused: [RefusedWrite] = []
  /// How many writes to protected bytes there were.
  public private(set) var refusedCount: UInt64 = 0
  /// How many writes were refused that touch no protected byte, only its 128.
  public private(set) var neighbourCount: UInt64 = 0
  /// How many writes went to a page with protected bytes without leaving the guest for it.
  public private(set) var permittedCount: UInt64 = 0
  /// How many exits the writes to these pages took.
  public private(set) var exits: UInt64 = 0
  /// Nothing is protected.
  public init() {}

  /// How many writes to pages with protected bytes there were.
  public var judgedCount: UInt64 { permittedCount + refusedCount + neighbourCount }

  /// Whether anything is protected.
  var isOn: Bool { !ranges.isEmpty }

  /// Protects what a configuration says.
  init(
    _ configuration: RunConfiguration, _ symbols: SymbolTable, _ layout: GuestMemoryLayout,
    _ machine: borrowing VirtualMachine
  ) throws(RunError) {
    action = configuration.protectAction
    for place in configuration.protected {
      switch place {
      case .bytes(let range): ranges.append(range)
      case .symbol(let name):
        guard let range = symbols.place(of: name) else {
          throw .protection(
            symbols.isEmpty
              ? "--protect \(name): the image has no symbols"
              : "--protect \(name): the image has no symbol \(name) with a size")
        }
        ranges.append(range)
      }
    }
    guard isOn else { return }
    do throws(SubpageError) {
      try machine.enableSubpageProtection()
      for range in ranges {
        for frame in (range.lowerBound >> 12)...((range.upperBound - 1) >> 12) {
          try machine.setSubpageAccess([access(frame)], from: GuestFrame(frame))
        }
      }
    } catch {
      let range = ranges.first { $0.upperBound > layout.lowEnd } ?? ranges[0]
      throw .protection(
        "--protect \(hex(range.lowerBound)):\(hex(range.upperBound - range.lowerBound)): guest "
          + "memory was expected there")
    }
  }

  /// The sub-pages of a page without a protected byte.
  private func access(_ frame: UInt64) -> SubpageAccess {
    var bits = UInt32.max
    for subpage in 0..<UInt64(32) {
      let start = frame << 12 + subpage << 7
      if ranges.contains(where: { $0.overlaps(start..<start + 128) }) {
        bits &= ~(1 << UInt32(subpage))
      }
    }
    return SubpageAccess(rawValue: bits)
  }

  private func isProtected(_ range: Range<UInt64>) -> Bool {
    ranges.contains { $0.overlaps(range) }
  }

  // MARK: The processor's accesses

  /// Whether stores to a guest-physical page are looked at one by one.
  func isWatched(_ page: UInt64) -> Bool { isProtected(page..<page + 4096) }

  /// A store to a watched page was permitted.
  mutating func permitted(exits count: Int64) {
    permittedCount += 1
    exits += UInt64(count)
  }

  /// A store to a watched page was refused.
  mutating func refused(_ write: RefusedWrite, exits count: Int64) {
    exits += UInt64(count)
    guard isProtected(write.address..<write.address + UInt64(write.old.count)) else {
      neighbourCount += 1
      return
    }
    refusedCount += 1
    if refused.count < Self.reportLimit { refused.append(write) }
  }

  /// Whether a store touches protected bytes.
  func isHit(_ address: UInt64, _ byteCount: Int) -> Bool {
    isProtected(address..<address + UInt64(byteCount))
  }
}
