import HostMemory
import MachineEvents
import PageTables
import PagingUnits
import Reports

/// Neighbouring entries of a machine's tables that map pages of one size with the same rights, or
/// that stand for devices.
struct MappedRange: Hashable, Sendable {
  /// What the entries are for.
  enum Target: Hashable, Sendable {
    /// Pages from this frame of the host on, side by side there too.
    case contiguous(HostFrame)
    /// Pages wherever they lie.
    case scattered
    /// Addresses that no memslot holds.
    case device
  }

  /// Which addresses the entries map.
  enum Space: Hashable, Sendable {
    /// Guest-physical ones.
    case guestPhysical
    /// Linear ones, under shadow paging.
    case linear
  }

  /// Which addresses the entries map.
  let space: Space
  /// The first frame of these addresses.
  let start: GuestFrame
  /// The level of the entries.
  let level: Level
  /// What the entries grant now.
  let rights: SPTERights
  /// Where they lead.
  private(set) var target: Target
  /// How many entries there are.
  private(set) var count: UInt64 = 1

  /// The range of the entry at which a path stands; `nil` for one that maps nothing.
  init?(_ path: EntryPath, _ encoding: EntryEncoding) {
    self.init(path.entry, at: path.level, from: path.frame, .guestPhysical, encoding)
  }

  /// The range of one entry; `nil` for one that maps nothing.
  init?(
    _ entry: SPTE, at level: Level, from start: GuestFrame, _ space: Space,
    _ encoding: EntryEncoding
  ) {
    self.space = space
    self.start = start
    self.level = level
    if entry.isPresentLeaf(at: level) {
      rights = encoding.rights(of: entry)
      target = .contiguous(encoding.frame(of: entry))
    } else if encoding.isMMIO(entry) {
      rights = []
      target = .device
    } else {
      return nil
    }
  }

  /// The frame behind the last.
  var end: GuestFrame { start + count * level.frameCount }

  /// Adds an entry that follows and is alike; whether it was added.
  mutating func extend(over next: MappedRange) -> Bool {
    guard next.start == end, next.level == level, next.rights == rights,
      (next.target == .device) == (target == .device)
    else { return false }
    if case .contiguous(let first) = target,
      next.target != .contiguous(first + count * level.frameCount)
    {
      target = .scattered
    }
    count += next.count
    return true
  }

  // MARK: Words

  private var rightsText: String {
    (rights.contains(.read) ? "r" : "-") + (rights.contains(.write) ? "w" : "-")
      + (rights.contains(.execute) ? "x" : "-")
      + (space == .guestPhysical ? "" : rights.contains(.user) ? "u" : "-")
  }

  /// The last address; behind the last frame of all there is none.
  private var last: UInt64 { end.address.raw &- 1 }

  /// Writes a line of text: first and last address, rights, pages, and where they lie.
  func appendLine(to text: inout TextBuffer) {
    text.appendPrefixedHex(start.address.raw)
    text.append("-")
    text.appendPrefixedHex(last)
    if target == .device {
      text.append("  device, ")
      text.appendDecimal(count)
      text.append(count == 1 ? " entry" : " entries")
    } else {
      text.append(string: "  \(rightsText)  ")
      text.appendDecimal(count)
      text.append(" x ")
      text.appendSize(level.byteCount)
    }
    switch target {
    case .contiguous(let frame):
      text.append(" at ")
      text.appendPrefixedHex(frame.address.raw)
    case .scattered: text.append(", scattered")
    case .device: break
    }
    text.endLine()
  }

  /// Writes a JSON object and ends the line; `last` is the last address.
  func appendJSON(of processor: Int, to text: inout TextBuffer) {
    text.append("{\"processor\":")
    text.appendDecimal(UInt64(processor))
    text.append(space == .linear ? ",\"gva\":" : ",\"gpa\":")
    text.appendQuotedHex(start.address.raw)
    text.append(",\"last\":")
    text.appendQuotedHex(last)
    text.append(",\"page_size\":")
    text.appendDecimal(level.byteCount)
    text.append(",\"count\":")
    text.appendDecimal(count)
    text.append(",\"device\":")
    text.appendTruth(target == .device)
    if target != .device {
      text.append(",\"rights\":")
      text.appendQuoted(rightsText)
      text.append(",\"hpa\":")
      if case .contiguous(let frame) = target {
        text.appendQuotedHex(frame.address.raw)
      } else {
        text.append("null")
      }
    }
    text.append("}\n")
  }
}
