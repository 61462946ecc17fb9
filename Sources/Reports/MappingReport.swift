public import PagingUnits

/// What the bits of a leaf entry say beyond the rights.
public struct MappingMarks: OptionSet, Hashable, Sendable {
  /// The bits.
  public let rawValue: UInt8
  /// Wraps the bits.
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  /// The page was used.
  public static let accessed = MappingMarks(rawValue: 1)
  /// The page was written.
  public static let dirty = MappingMarks(rawValue: 2)
  /// The page outlives a switch of CR3.
  public static let global = MappingMarks(rawValue: 4)
  /// The page is larger than 4 KiB.
  public static let large = MappingMarks(rawValue: 8)
  /// PCD.
  public static let cacheDisable = MappingMarks(rawValue: 16)
  /// PWT.
  public static let writeThrough = MappingMarks(rawValue: 32)
}

/// One linear address, or page, and where it leads.
public struct MappingReport: Hashable, Sendable {
  /// The linear address.
  public var linear: GuestVirtual
  /// The guest-physical address.
  public var physical: GuestPhysical
  /// The size of the page in bytes.
  public var byteCount: UInt64
  /// What all entries together permit; `user` and `write` as the entries say, whatever CR0.WP is.
  public var rights: AccessRights
  /// What the leaf says beyond.
  public var marks: MappingMarks

  /// A mapping with every property given.
  public init(
    linear: GuestVirtual, physical: GuestPhysical, byteCount: UInt64, rights: AccessRights,
    marks: MappingMarks
  ) {
    self.linear = linear
    self.physical = physical
    self.byteCount = byteCount
    self.rights = rights
    self.marks = marks
  }

  /// Writes the members that a translation has, as JSON without braces.
  public func appendMembers(to text: inout TextBuffer) {
    text.append("\"gva\":")
    text.appendQuotedHex(linear.raw)
    text.append(",\"gpa\":")
    text.appendQuotedHex(physical.raw)
    text.append(",\"page_size\":")
    text.appendDecimal(byteCount)
    text.append(rightsMembers)
    text.append(marksMembers)
  }

  /// The three rights as JSON members: eight texts, because a line is written per address.
  private var rightsMembers: StaticString {
    switch (rights.contains(.write), rights.contains(.user), rights.contains(.execute)) {
    case (false, false, false):
      ",\"writable\":false,\"user\":false,\"executable\":false"
    case (false, false, true):
      ",\"writable\":false,\"user\":false,\"executable\":true"
    case (false, true, false):
      ",\"writable\":false,\"user\":true,\"executable\":false"
    case (false, true, true):
      ",\"writable\":false,\"user\":true,\"executable\":true"
    case (true, false, false):
      ",\"writable\":true,\"user\":false,\"executable\":false"
    case (true, false, true):
      ",\"writable\":true,\"user\":false,\"executable\":true"
    case (true, true, false):
      ",\"writable\":true,\"user\":true,\"executable\":false"
    case (true, true, true):
      ",\"writable\":true,\"user\":true,\"executable\":true"
    }
  }

  /// The three marks of a translation as JSON members.
  private var marksMembers: StaticString {
    switch (marks.contains(.accessed), marks.contains(.dirty), marks.contains(.global)) {
    case (false, false, false):
      ",\"accessed\":false,\"dirty\":false,\"global\":false"
    case (false, false, true):
      ",\"accessed\":false,\"dirty\":false,\"global\":true"
    case (false, true, false):
      ",\"accessed\":false,\"dirty\":true,\"global\":false"
    case (false, true, true):
      ",\"accessed\":false,\"dirty\":true,\"global\":true"
    case (true, false, false):
      ",\"accessed\":true,\"dirty\":false,\"global\":false"
    case (true, false, true):
      ",\"accessed\":true,\"dirty\":false,\"global\":true"
    case (true, true, false):
      ",\"accessed\":true,\"dirty\":true,\"global\":false"
    case (true, true, true):
      ",\"accessed\":true,\"dirty\":true,\"global\":true"
    }
  }

  /// Writes the members that a listed page has on top of a translation's: its cache bits.
  public func appendCacheMembers(to text: inout TextBuffer) {
    text.append(",\"write_through\":")
    text.appendTruth(marks.contains(.writeThrough))
    text.append(",\"cache_disable\":")
    text.appendTruth(marks.contains(.cacheDisable))
  }

  /// Writes a line of text: linear address, physical address, size, rights (`rwxu`), and the leaf's
  /// bits by the letters of a monitor's listing (global, large, dirty, accessed, cache disable,
  /// write through).
  public func appendLine(to text: inout TextBuffer) {
    text.appendPrefixedHex(linear.raw, digits: 16)
    text.append(" ")
    text.appendPrefixedHex(physical.raw, digits: 16)
    text.append(" ")
    let start = text.count
    text.appendSize(byteCount)
    text.pad(from: start, to: 3)
    text.appendRights(rights)
    text.append(" ")
    text.append(marks.contains(.global) ? 0x47 : 0x2D)
    text.append(marks.contains(.large) ? 0x50 : 0x2D)
    text.append(marks.contains(.dirty) ? 0x44 : 0x2D)
    text.append(marks.contains(.accessed) ? 0x41 : 0x2D)
    text.append(marks.contains(.cacheDisable) ? 0x43 : 0x2D)
    text.append(marks.contains(.writeThrough) ? 0x54 : 0x2D)
    text.endLine()
  }
}

extension TextBuffer {
  /// Writes rights as four letters: readable, writable, executable, reachable from user mode.
  public mutating func appendRights(_ rights: AccessRights) {
    append(0x72)
    append(rights.contains(.write) ? 0x77 : 0x2D)
    append(rights.contains(.execute) ? 0x78 : 0x2D)
    append(rights.contains(.user) ? 0x75 : 0x2D)
  }
}
