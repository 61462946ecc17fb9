/// Which instruction changes the control registers; the values alone do not tell, because writing
/// what is there already is an instruction too.
public enum ControlInstruction: Hashable, Sendable {
  /// MOV to CR0.
  case moveToCR0
  /// MOV to CR3.
  case moveToCR3(Translations)
  /// MOV to CR4.
  case moveToCR4
  /// WRMSR to IA32_EFER.
  case writeEFER
  /// WRMSR to IA32_PAT.
  case writePAT
  /// WRPKRU.
  case writePKRU

  /// What MOV to CR3 does with what the processor remembers of the space that it loads.
  public enum Translations: Hashable, Sendable {
    /// It forgets.
    case forgotten
    /// Bit 63 of the value under CR4.PCIDE: it may remember.
    case kept
  }
}
