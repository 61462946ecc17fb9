public import PagingUnits

/// A run of linear addresses that may all be used in the same way.
public struct RangeReport: Hashable, Sendable {
  /// The first address.
  public var start: GuestVirtual
  /// The last address; the end itself may not fit 64 bits.
  public var last: GuestVirtual
  /// What all entries together permit.
  public var rights: AccessRights

  /// A run with every property given.
  public init(start: GuestVirtual, last: GuestVirtual, rights: AccessRights) {
    self.start = start
    self.last = last
    self.rights = rights
  }

  /// The number of bytes; `nil` for the whole space of 2^64.
  public var byteCount: UInt64? {
    let distance = last - start
    return distance == UInt64.max ? nil : distance + 1
  }

  /// Adds the page of `mapping` when it follows this run and permits the same.
  ///
  /// - Parameter mapping: a page that starts beyond the run.
  /// - Returns: whether it was added.
  public mutating func extend(over mapping: MappingReport) -> Bool {
    let (next, overflow) = last.raw.addingReportingOverflow(1)
    guard !overflow, mapping.linear.raw == next, mapping.rights == rights else { return false }
    last = GuestVirtual(mapping.linear.raw + (mapping.byteCount - 1))
    return true
  }

  /// A run of one page.
  public init(_ mapping: MappingReport) {
    self.init(
      start: mapping.linear, last: GuestVirtual(mapping.linear.raw + (mapping.byteCount - 1)),
      rights: mapping.rights)
  }

  /// Writes a JSON object and ends the line; `end` is the last address.
  public func appendJSON(to text: inout TextBuffer) {
    text.append("{\"gva\":")
    text.appendQuotedHex(start.raw)
    text.append(",\"last\":")
    text.appendQuotedHex(last.raw)
    text.append(",\"size\":")
    if let byteCount { text.appendDecimal(byteCount) } else { text.append("18446744073709551616") }
    text.append(",\"writable\":")
    text.appendTruth(rights.contains(.write))
    text.append(",\"user\":")
    text.appendTruth(rights.contains(.user))
    text.append(",\"executable\":")
    text.appendTruth(rights.contains(.execute))
    text.append("}\n")
  }

  /// Writes a line of text: first and last address, size, rights.
  public func appendLine(to text: inout TextBuffer) {
    text.appendPrefixedHex(start.raw, digits: 16)
    text.append("-")
    text.appendPrefixedHex(last.raw, digits: 16)
    text.append(" ")
    let place = text.count
    if let byteCount { text.appendSize(byteCount) } else { text.append("16E") }
    text.pad(from: place, to: 9)
    text.appendRights(rights)
    text.endLine()
  }
}
