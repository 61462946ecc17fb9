extension TextBuffer {
  /// Writes an error code's bits as the kernel's flag printer does: names joined by `|` in the
  /// order P, W, U, RSVD, F, and whatever is left in hexadecimal; nothing for 0 (KVM:
  /// `kvm_mmu_trace_pferr_flags`).
  public mutating func appendErrorFlags(_ code: UInt64) {
    let start = count
    var rest = code
    for bit in 0..<5 where rest >> UInt64(bit) & 1 == 1 {
      rest &= ~(1 << UInt64(bit))
      if count != start { append("|") }
      switch bit {
      case 0: append("P")
      case 1: append("W")
      case 2: append("U")
      case 3: append("RSVD")
      default: append("F")
      }
    }
    guard rest != 0 else { return }
    if count != start { append("|") }
    appendPrefixedHex(rest)
  }
}
