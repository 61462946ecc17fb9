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
  /// How many of them mapped a page, which protection by whole pages would have cost as well.
  public private(set) var mappings: UInt64 = 0
  /// Nothing is protected.
  public init() {}

  /// How many writes to pages with protected bytes there were.
  public var judgedCount: UInt64 { permittedCount + refusedCount + neighbourCount }

  /// How many exits the same writes would have taken, had whole pages been protected: one each, and
  /// those that map a page.
  public var exitsByPages: UInt64 { judgedCount + mappings }

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
              ? "--protect \(name): the image has no symbols; \(Self.bytesExpected)"
              : "--protect \(name): the image has no symbol \(name) with a size; a symbol, or "
                + Self.bytesExpected)
        }
        ranges.append(range)
      }
    }
    guard isOn else { return }
    for range in ranges { try protect(range, layout, machine) }
  }

  private static let bytesExpected = "an address, a colon and a length were expected"

  private func protect(
    _ range: Range<UInt64>, _ layout: GuestMemoryLayout, _ machine: borrowing VirtualMachine
  ) throws(RunError) {
    let isLow = range.upperBound <= layout.lowEnd
    let high = GuestMemoryLayout.highStart..<layout.highEnd
    let isHigh = high.lowerBound <= range.lowerBound && range.upperBound <= high.upperBound
    var memory = "\(hex(0)) to \(hex(layout.lowEnd - 1))"
    if !high.isEmpty { memory += " and \(hex(high.lowerBound)) to \(hex(high.upperBound - 1))" }
    let place = "--protect \(hex(range.lowerBound)):\(hex(range.upperBound - range.lowerBound))"
    guard isLow || isHigh else {
      throw .protection("\(place): guest memory was expected there, which is \(memory)")
    }
    do throws(SubpageError) {
      try machine.enableSubpageProtection()
      var frame = range.lowerBound >> 12
      let end = (range.upperBound - 1) >> 12 + 1
      while frame < end {
        let count = min(end - frame, UInt64(SubpageProtection.pageLimit))
        try machine.setSubpageAccess(
          (frame..<frame + count).map { access($0) }, from: GuestFrame(frame))
        frame += count
      }
    } catch {
      throw .protection("\(place): the machine cannot protect that: \(error)")
    }
  }

  /// The sub-pages of a page without a protected byte.
  private func access(_ frame: UInt64) -> SubpageAccess {
    let page = frame << 12..<(frame + 1) << 12
    if ranges.contains(where: {
      $0.lowerBound <= page.lowerBound && $0.upperBound >= page.upperBound
    }) {
      return .none
    }
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
  mutating func permitted(exits count: Int64, mapping: Int64) {
    permittedCount += 1
    exits += UInt64(count)
    mappings += UInt64(mapping)
  }

  /// A store to a watched page was refused.
  mutating func refused(_ write: RefusedWrite, exits count: Int64, mapping: Int64) {
    exits += UInt64(count)
    mappings += UInt64(mapping)
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
