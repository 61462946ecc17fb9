import PagingUnits

/// An entry of the host process's page table, in x86's 4-level format.
///
/// Source: SDM, "4-Level Paging and 5-Level Paging".
///
///     present   63 NX · 51…12 frame · 9 uncounted · 7 page size · 6 dirty · 5 accessed
///               2 user · 1 writable · 0 present
///     absent    0, or with a frame one of 8 hidden · 10 poisoned · 11 a table set aside ·
///               52 swapped out
struct HostEntry: Hashable {
  let raw: UInt64

  init(_ raw: UInt64) { self.raw = raw }

  static let present = Field(bit: 0)
  static let writable = Field(bit: 1)
  static let user = Field(bit: 2)
  static let accessed = Field(bit: 5)
  static let dirty = Field(bit: 6)
  static let pageSize = Field(bit: 7)
  static let hidden = Field(bit: 8)
  static let uncounted = Field(bit: 9)
  static let poisoned = Field(bit: 10)
  static let setAside = Field(bit: 11)
  static let frameNumber = Field(12...51)
  static let swappedOut = Field(bit: 52)
  static let noExecute = Field(bit: 63)

  static let absent = HostEntry(0)

  static func table(_ frame: HostFrame) -> HostEntry {
    HostEntry(frame.number << 12 | 0b10_0111)
  }

  static func tableSetAside(_ frame: HostFrame) -> HostEntry {
    HostEntry(frame.number << 12 | setAside.mask)
  }

  static func poison(_ frame: HostFrame) -> HostEntry {
    HostEntry(frame.number << 12 | poisoned.mask)
  }

  /// A page whose bytes lie in a frame of the swap area.
  static func swapped(to frame: HostFrame) -> HostEntry {
    HostEntry(frame.number << 12 | swappedOut.mask)
  }

  /// A page of `level`; `isCounted` says whether the frame's record counts its mappings.
  static func page(_ frame: HostFrame, _ level: Level, _ rights: Rights) -> HostEntry {
    var raw = frame.number << 12 | 0b10_0101 | noExecute.mask
    if level > .page4K { raw |= pageSize.mask }
    if rights.contains(.write) { raw |= writable.mask | dirty.mask }
    if rights.contains(.uncounted) { raw |= uncounted.mask }
    return HostEntry(raw)
  }

  /// How a page is entered.
  struct Rights: OptionSet {
    let rawValue: UInt8
    static let write = Rights(rawValue: 1)
    static let uncounted = Rights(rawValue: 2)
  }

  var isPresent: Bool { raw & 1 != 0 }
  var isWritable: Bool { Self.writable.isSet(in: raw) }
  var isCounted: Bool { !Self.uncounted.isSet(in: raw) }
  var isPoisoned: Bool { raw & 1 == 0 && Self.poisoned.isSet(in: raw) }
  var isSwapped: Bool { raw & 1 == 0 && Self.swappedOut.isSet(in: raw) }
  var isSetAside: Bool { raw & 1 == 0 && Self.setAside.isSet(in: raw) }
  var frame: HostFrame { HostFrame(Self.frameNumber.value(in: raw)) }

  /// Whether the entry, at `level`, points to a table.
  func isTable(at level: Level) -> Bool {
    isPresent && level > .page4K && !Self.pageSize.isSet(in: raw)
  }

  /// Whether a page belongs to the entry, present or hidden by a protection.
  func holdsPage(at level: Level) -> Bool {
    if isPresent { return level == .page4K || Self.pageSize.isSet(in: raw) }
    return Self.hidden.isSet(in: raw)
  }

  var readOnly: HostEntry { HostEntry(raw & ~Self.writable.mask) }
  var writableAndDirty: HostEntry { HostEntry(raw | Self.writable.mask | Self.dirty.mask) }
  var concealed: HostEntry { HostEntry(raw & ~1 & ~Self.writable.mask | Self.hidden.mask) }
  var revealed: HostEntry { HostEntry(raw & ~Self.hidden.mask | 1) }

  func moved(to frame: HostFrame) -> HostEntry {
    HostEntry(Self.frameNumber.setting(frame.number, in: raw))
  }
}
