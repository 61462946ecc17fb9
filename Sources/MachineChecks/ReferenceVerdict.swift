import DirectMMU
public import PagingUnits

/// An entry of the guest's tables that the reference read.
struct ReferenceEntry: Sendable {
  let physical: UInt64
  /// Where it lies in the host process.
  let host: UInt64
  let value: UInt64
}

/// One way on which an access may lawfully succeed.
struct ReferenceWay: Sendable {
  /// The page of the guest's; without paging, and for guest-physical accesses, the largest.
  var page: RememberedWalks.Page
  /// The very byte.
  var physical: UInt64
  /// The host address of the byte.
  var host: UInt64
  /// What the same privilege may do here as far as the guest goes, one bit for each access kind.
  var permitted: UInt8
  /// The entries that get their accessed bit, by number.
  var marked: UInt64 = 0
  /// The entry that gets its dirty bit.
  var dirtied: Int?
  /// The tables that the walk came by, by number.
  var passed: UInt64 = 0
  /// Whether it is a walk; else it is a translation that the processor kept.
  var isWalk = true
  /// Whether it is the walk from the root, which goes by what the tables say now.
  var isCurrent = false
  /// The bytes there before the access; `nil` where they cannot be known.
  var bytes: UInt64?
}

/// How an access may lawfully end by what the guest's tables say now.
enum ReferenceEnding: Hashable, Sendable {
  /// In memory, on one of the ways.
  case memory
  case pageFault(UInt32)
  case generalProtection
  case device(UInt64)
  case subpageRefused(UInt64)
  case failed(FaultOutcome.HostFailure, UInt64)
}

/// What an access may lawfully come to, as the reference found before it was made.
public struct ReferenceVerdict: Sendable {
  /// The access.
  public let access: ReferenceAccess
  /// The guest's registers at the time.
  public let registers: ControlRegisters
  let mode: ReferenceMode
  let addressSpace: AddressSpace
  let linear: UInt64?
  /// What the tables say now.
  var current = ReferenceEnding.generalProtection
  /// Another end that is as lawful.
  var alternative: ReferenceEnding?
  /// The accessed bits that were set before an access was given up, by number.
  var markedBeforeEnding: UInt64 = 0
  /// The entry that got its dirty bit before an access was given up.
  var dirtiedBeforeEnding: Int?
  /// Whether an entry that was read lies in a page that sub-page protection has to do with: then
  /// the hypervisor may perform the access, and marks are judged no further.
  var isNearSubpages = false
  /// Every way on which it may succeed.
  var ways: [ReferenceWay] = []
  /// Every entry that was read on any way.
  var entries: [ReferenceEntry] = []
  /// The tables that walks came by, with their depths.
  var tables: [(table: RememberedWalks.Table, depth: Int)] = []
  /// Whether there were more ways than can be followed: then any success is accepted as far as the
  /// guest's tables go.
  public internal(set) var isOpen = false

  init(
    _ access: ReferenceAccess, _ mode: ReferenceMode, _ addressSpace: AddressSpace, linear: UInt64?
  ) {
    self.access = access
    self.mode = mode
    self.addressSpace = addressSpace
    self.linear = linear
    registers = mode.registers
  }

  /// The guest-physical addresses at which the access may lawfully find memory: what the tables say
  /// now, and what the processor may still have kept.
  public var destinations: [GuestPhysical] { ways.map { GuestPhysical($0.physical) } }

  /// Where the access finds memory by what the tables say now; `nil` when it does not.
  public var currentDestination: GuestPhysical? {
    guard current == .memory else { return nil }
    return ways.first { $0.isCurrent }.map { GuestPhysical($0.physical) }
  }

  /// The error code of the page fault that the tables ask for now.
  public var pageFault: UInt32? {
    if case .pageFault(let code) = current { code } else { nil }
  }

  /// The bytes that a read of `physical` must find, lowest first; `nil` when no way leads there or
  /// nobody can know.
  public func bytes(at physical: GuestPhysical) -> UInt64? {
    ways.first { $0.physical == physical.raw }?.bytes
  }

  /// Every outcome that is lawful, in words.
  public var expectation: String {
    var words: [String] = []
    switch current {
    case .memory: break
    case .pageFault(let code): words.append("a page fault \(hex(UInt64(code)))")
    case .generalProtection: words.append("a general protection fault")
    case .device(let address): words.append("a device at \(hex(address))")
    case .subpageRefused(let address): words.append("a refusal at \(hex(address))")
    case .failed(let reason, let address): words.append("\(reason) at \(hex(address))")
    }
    if case .failed(let reason, let address) = alternative {
      words.append("\(reason) at \(hex(address))")
    }
    for way in ways {
      words.append("\(way.isWalk ? "guest-physical" : "still") \(hex(way.physical))")
    }
    if isOpen { words.append("any memory") }
    return words.joined(separator: " or ")
  }
}
