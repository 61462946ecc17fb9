public import VirtualMachine

/// Mischief done to the machine of a stage.
extension Stage: MischiefTarget {
  /// Calls `body` with the machine.
  public func withMachine(_ body: (borrowing VirtualMachine) -> Void) { body(machine) }

  /// Who does mischief to the machine at its interleaving points and before steps; nobody at first.
  ///
  /// Nothing comes of it when the stage was made with an interleaver of the caller's own.
  public var mischief: Mischief? {
    get { scheduler.mischief }
    set {
      newValue?.target = self
      scheduler.mischief = newValue
    }
  }
}
