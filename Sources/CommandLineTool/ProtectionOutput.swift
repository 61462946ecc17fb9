import GuestRunner
import Reports

/// What is said of writes to protected memory.
struct ProtectionOutput {
  private let protection: MemoryProtection
  private let symbols: SymbolTable

  init(_ protection: MemoryProtection, _ symbols: SymbolTable) {
    self.protection = protection
    self.symbols = symbols
  }

  /// One line a refused write, and what it cost beside what whole pages would have.
  func write(to text: inout TextBuffer) {
    for write in protection.refused {
      text.append(string: line(write))
      text.endLine()
    }
    let unseen = protection.refusedCount - UInt64(protection.refused.count)
    if unseen > 0 {
      text.append(string: "and \(unseen) more")
      text.endLine()
    }
    text.append(
      string: "\(protection.refusedCount) writes to protected bytes, "
        + "\(protection.neighbourCount) beside them in the same 128 bytes, "
        + "\(protection.permittedCount) to the same pages at full speed")
    text.endLine()
    var table = TextTable([.left, .right, .right])
    table.append(["protection by", "writes", "exits"])
    let judged = protection.judgedCount
    table.append(["128 bytes", "\(judged)", "\(protection.exits)"])
    table.append(["4 KiB", "\(judged)", "\(protection.exitsByPages)"])
    table.write(to: &text)
  }

  private func line(_ write: RefusedWrite) -> String {
    let change = write.new.isEmpty ? "not made" : "-> \(number(write.new))"
    let size = write.old.count == 1 ? "1 byte" : "\(write.old.count) bytes"
    return "refused: \(size) at \(hex(write.address)): \(number(write.old)) "
      + "\(change), by \(hex(write.instruction))\(name(write.instruction))"
  }

  private func name(_ address: UInt64) -> String {
    symbols.name(of: address).map { " <\($0)>" } ?? ""
  }

  /// Bytes as a number where they are few.
  private func number(_ bytes: [UInt8]) -> String {
    guard bytes.count <= 8 else { return "\(bytes.count) bytes" }
    return hex(bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) })
  }

  /// One object a refused write, and one with the counts.
  func writeJSON(to text: inout TextBuffer) {
    for write in protection.refused {
      text.append("{\"refused\":{\"address\":")
      text.appendQuotedHex(write.address)
      text.append(",\"bytes\":")
      text.appendDecimal(UInt64(write.old.count))
      text.append(",\"old\":")
      text.appendQuoted(number(write.old))
      text.append(",\"new\":")
      text.appendQuoted(write.new.isEmpty ? "" : number(write.new))
      text.append(",\"rip\":")
      text.appendQuotedHex(write.instruction)
      text.append(",\"function\":")
      text.appendQuoted(symbols.name(of: write.instruction) ?? "")
      text.append("}}\n")
    }
    text.append("{\"protected_writes\":")
    text.appendDecimal(protection.refusedCount)
    text.append(",\"neighbour_writes\":")
    text.appendDecimal(protection.neighbourCount)
    text.append(",\"full_speed_writes\":")
    text.appendDecimal(protection.permittedCount)
    text.append(",\"exits_by_128_bytes\":")
    text.appendDecimal(protection.exits)
    text.append(",\"exits_by_pages\":")
    text.appendDecimal(protection.exitsByPages)
    text.append("}\n")
  }

  private func hex(_ number: UInt64) -> String { "0x" + String(number, radix: 16) }
}
