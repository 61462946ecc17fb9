public import PagingUnits
public import X86Paging

/// One linear address that leads nowhere, and why.
public struct FaultReport: Hashable, Sendable {
  /// Why there is no page.
  public enum Reason: Hashable, Sendable {
    /// The guest's own tables say no: the cause and the level of the entry to blame.
    case tables(WalkFault.Cause, Level)
    /// A table of this level lies where the image has no bytes.
    case tableOutside(GuestPhysical, Level)
    /// The address is not canonical: #GP, not a page fault.
    case nonCanonical
    /// The address is beyond 32 bits in a mode that has no more: there is no such address.
    case beyondMode
    /// A second dimension refused this inner address.
    case secondDimension(GuestPhysical, WalkFault.Cause)
  }

  /// The linear address.
  public var linear: GuestVirtual
  /// The error code; for a second dimension, the code by which KVM handles the exit.
  public var code: PageFaultErrorCode
  /// Why there is no page.
  public var reason: Reason

  /// A fault with every property given.
  public init(linear: GuestVirtual, code: PageFaultErrorCode, reason: Reason) {
    self.linear = linear
    self.code = code
    self.reason = reason
  }

  /// Writes the members `gva` and `fault` as JSON without braces.
  ///
  /// A page fault of the guest's own has the error code alone; everything else also says what it
  /// is.
  public func appendMembers(to text: inout TextBuffer) {
    text.append("\"gva\":")
    text.appendQuotedHex(linear.raw)
    text.append(",\"fault\":{\"error_code\":")
    text.appendQuotedHex(code.rawValue)
    switch reason {
    case .tables: break
    case .tableOutside(let table, _):
      text.append(",\"reason\":\"table outside the image\",\"table\":")
      text.appendQuotedHex(table.raw)
    case .nonCanonical:
      text.append(",\"reason\":\"not canonical\",\"exception\":\"#GP\"")
    case .beyondMode:
      text.append(",\"reason\":\"beyond 32 bits\"")
    case .secondDimension(let address, let cause):
      text.append(",\"reason\":\"second dimension: ")
      text.append(cause.phrase)
      text.append("\",\"nested_gpa\":")
      text.appendQuotedHex(address.raw)
    }
    text.append("}")
  }

  /// Writes a line of text: the linear address, the error code with its flags, and the reason.
  public func appendLine(to text: inout TextBuffer) {
    text.appendPrefixedHex(linear.raw, digits: 16)
    text.append(" ")
    appendPhrase(to: &text)
    text.endLine()
  }

  /// Writes what happened, without the address.
  public func appendPhrase(to text: inout TextBuffer) {
    switch reason {
    case .nonCanonical: text.append("#GP: the address is not canonical")
    case .beyondMode: text.append("no such address: this mode translates 32 bits")
    case .tables(let cause, let level):
      appendPageFault(to: &text)
      text.append(cause.phrase)
      text.append(" at level ")
      text.appendDecimal(UInt64(level.depth))
    case .tableOutside(let table, let level):
      appendPageFault(to: &text)
      text.append("the level-")
      text.appendDecimal(UInt64(level.depth))
      text.append(" table at ")
      text.appendPrefixedHex(table.raw)
      text.append(" is outside the image")
    case .secondDimension(let address, let cause):
      text.append("second dimension refuses ")
      text.appendPrefixedHex(address.raw)
      text.append(", ")
      appendCode(to: &text)
      text.append(cause.phrase)
    }
  }

  private func appendPageFault(to text: inout TextBuffer) {
    text.append("#PF ")
    appendCode(to: &text)
  }

  private func appendCode(to text: inout TextBuffer) {
    text.appendPrefixedHex(code.rawValue)
    if code.rawValue != 0 {
      text.append(" ")
      text.appendErrorFlags(code.rawValue)
    }
    text.append(": ")
  }
}

extension WalkFault.Cause {
  /// The cause in a few words.
  var phrase: StaticString {
    switch self {
    case .absentEntry: "entry not present"
    case .absentTable: "no memory where the table should be"
    case .reservedBit: "reserved bit set"
    case .permission: "access not permitted"
    }
  }
}
