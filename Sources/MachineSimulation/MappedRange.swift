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

  /// The first guest frame.
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
    start = path.frame
    level = path.level
    if path.entry.isPresentLeaf(at: path.level) {
      rights = encoding.rights(of: path.entry)
      target = .contiguous(path.entry.frame)
    } else if encoding.isMMIO(path.entry) {
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
  }

  /// Writes a line of text: first and last address, rights, pages, and where they lie.
  func appendLine(to text: inout TextBuffer) {
    text.appendPrefixedHex(start.address.raw)
    text.append("-")
    text.appendPrefixedHex(end.address.raw - 1)
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
    text.append(",\"gpa\":")
    text.appendQuotedHex(start.address.raw)
    text.append(",\"last\":")
    text.appendQuotedHex(end.address.raw - 1)
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
